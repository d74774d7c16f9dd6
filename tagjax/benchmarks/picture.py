"""A stream as a picture: some images of each task."""

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # which draws with this module
  from tagjax.benchmarks.stream import Stream

_LONGEST_NAME = 16
_CELL_INCHES = 0.9
_MOST_TASKS = 40
_DPI = 110


def plot_stream(stream: "Stream", path: str | os.PathLike[str], images_per_task: int = 10) -> None:
  """Draws a row of training images for each task, with the names of their classes, as PNG.

  The images are spread evenly over the task's classes, the first example of each class first. Of
  blurry tasks their guests are shown as well. Of more than 40 tasks the first 40 are drawn.

  Args:
    stream: the stream; images are of shape `[H, W]`, `[H, W, 1]` or `[H, W, 3]`.
    path: the file; its folder must exist.
    images_per_task: images in a row, at most.

  Raises:
    ValueError: if there is nothing to draw, or the images have another shape.
  """
  from matplotlib.figure import Figure  # most users never draw, and it takes a second

  _check(stream, images_per_task)
  num_rows = min(len(stream), _MOST_TASKS)
  width, height = _CELL_INCHES * images_per_task, 1.4 * _CELL_INCHES * num_rows + 0.4
  figure = Figure(figsize=(width, height), dpi=_DPI)
  figure.suptitle(f"{stream.name}, {stream.spec.scenario}-incremental", fontsize=9)
  figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.55 / height, hspace=0.4)
  axes = figure.subplots(num_rows, 1, squeeze=False)[:, 0]
  for task, axis in enumerate(axes):
    _draw_task(axis, stream, task, images_per_task)
  figure.savefig(path, format="png")


def _check(stream: "Stream", images_per_task: int) -> None:
  shape = stream.spec.image_shape
  if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
    raise ValueError(f"images of shape {shape} cannot be drawn, must be [H, W] with 1 or 3 colours")
  if images_per_task < 1:
    raise ValueError(f"images_per_task is {images_per_task}, must be at least 1")


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


def _draw_task(axis, stream: "Stream", task: int, count: int) -> None:
  """One strip of images: an axis for each of them would take seconds."""
  examples = stream[task].some_of_train(lambda label: spread(label, count))
  image = np.asarray(examples.image, np.float32) / stream.max_value
  colours = image.reshape(*image.shape[:3], -1)
  num, height, width = colours.shape[:3]
  gap = max(1, width // 12)
  strip = np.ones((height, count * (width + gap) - gap, 3), np.float32)
  for place in range(num):
    left = place * (width + gap)
    strip[:, left : left + width] = colours[place]
    name = _name_of(stream, int(examples.task_id[place]), int(examples.label[place]))
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    axis.text(left + width / 2, -1, short, fontsize=5, ha="center", va="bottom")
  axis.imshow(np.clip(strip, 0, 1), interpolation="nearest")
  axis.set_title(f"{task}: {stream.task_names[task]}", fontsize=7, loc="left", pad=10)
  axis.set_axis_off()


def _name_of(stream: "Stream", task_id: int, label: int) -> str:
  """The class's name; a guest's may be known to another task only."""
  for names in (stream.class_names[task_id], *stream.class_names):
    if label in names:
      return names[label]
  return str(label)
