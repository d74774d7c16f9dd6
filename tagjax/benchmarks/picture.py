"""A stream as a picture: some images of each task."""

import os

import numpy as np

from tagjax.benchmarks.stream import Stream, TaskExamples

_LONGEST_NAME = 16
_CELL_INCHES = 0.9
_MOST_TASKS = 40


def plot_stream(stream: Stream, path: str | os.PathLike[str], images_per_task: int = 10) -> None:
  """Draws a row of training images for each task, with the names of their classes, as PNG.

  The images are spread evenly over the task's classes, the first example of each class first. Of
  blurry tasks the images of their guests are shown as they are. Of more than 40 tasks the first 40
  are drawn.

  Args:
    stream: the stream; images are of shape `[H, W]`, `[H, W, 1]` or `[H, W, 3]`.
    path: the file; its folder must exist.
    images_per_task: images in a row, at most.

  Raises:
    ValueError: if there is nothing to draw, or the images have another shape.
  """
  from matplotlib.figure import Figure  # most users never draw, and it takes a second

  shape = stream.spec.image_shape
  if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
    raise ValueError(f"images of shape {shape} cannot be drawn, must be [H, W] with 1 or 3 colours")
  if images_per_task < 1:
    raise ValueError(f"images_per_task is {images_per_task}, must be at least 1")
  num_rows = min(len(stream), _MOST_TASKS)
  width, height = _CELL_INCHES * images_per_task, 1.35 * _CELL_INCHES * num_rows
  figure = Figure(figsize=(width + 0.4, height + 0.5), layout="constrained", dpi=110)
  figure.suptitle(f"{stream.name}, {stream.spec.scenario}-incremental", fontsize=9)
  rows = figure.subfigures(num_rows, 1, squeeze=False)[:, 0]
  for task, row in enumerate(rows):
    experience = stream[task]
    row.suptitle(f"{task}: {experience.name}", fontsize=7, x=0.01, ha="left")
    chosen = spread(experience.train.label, images_per_task)
    axes = row.subplots(1, images_per_task, squeeze=False)[0]
    for place, axis in enumerate(axes):
      axis.set_axis_off()
      if place < len(chosen):
        _draw(axis, stream, experience.train, chosen[place])
  figure.savefig(path, format="png")


def spread(label: np.ndarray, count: int) -> np.ndarray:
  """Up to `count` rows that show as many labels as possible, equally often.

  >>> spread(np.array([7, 7, 7, 3, 3]), 4).tolist()
  [3, 4, 0, 1]
  """
  taken = []
  by_label = [np.flatnonzero(label == one) for one in np.unique(label)]
  if len(by_label) > count:  # evenly over the labels
    by_label = [by_label[place] for place in np.linspace(0, len(by_label) - 1, count).astype(int)]
  for turn in range(count):
    taken.extend((place, turn) for place, rows in enumerate(by_label) if turn < len(rows))
  chosen = sorted(taken[:count])
  return np.array([by_label[place][turn] for place, turn in chosen], dtype=int)


def _draw(axis, stream: Stream, examples: TaskExamples, row: int) -> None:
  image = examples.image[np.array([row])][0]
  if image.ndim == 3 and image.shape[2] == 1:
    image = image[..., 0]
  # matplotlib takes colours as they are, of 0 to 255 or of 0 to 1, and scales grey only.
  scaled = np.asarray(image, np.float32) / stream.max_value
  axis.imshow(scaled, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
  name = _name_of(stream, int(examples.task_id[row]), int(examples.label[row]))
  short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
  axis.set_title(short, fontsize=5, pad=2)


def _name_of(stream: Stream, task_id: int, label: int) -> str:
  """The class's name; a guest's may be known to another task only."""
  for names in (stream.class_names[task_id], *stream.class_names):
    if label in names:
      return names[label]
  return str(label)
