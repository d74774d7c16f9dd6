"""Lifelong STL-10: three classes a task, seen through noise and with exchanged colours."""

import functools
import zlib

import numpy as np

from tagjax import datasets
from tagjax.benchmarks import checks, drawn, groups, heads, holdout, planning
from tagjax.benchmarks.stream import Stream

_LEVEL = 0.025
_MEANS = (-2, -1, 0, 1)
_STDS = (0, 1)


def make_lifelong(
  dataset: datasets.Dataset,
  *,
  name: str,
  num_tasks: int,
  scenario: str = "task",
  classes_per_task: groups.Integers,
  selection: holdout.Selection = holdout.EVERYTHING,
) -> Stream:
  """Each task draws classes, Gaussian noise and an order of the colour channels of its own.

  Tasks that have a class in common show all of its images, each in its own way; an image that
  validates one of them trains none of the others. In the scenario `"task"` each task has outputs of
  its own, see `tagjax.benchmarks.heads.drawn_outputs`.

  The noise of task t has mean `0.025 m` and standard deviation `0.025 s` in units of the whole
  range of the pixels, m drawn from -2, -1, 0, 1 and s from 0, 1. It is drawn anew for every pixel
  of every image, with a seed made of `selection.data_seed`, the task and the image itself: however
  often and in whatever batches an image is asked for, it looks the same.

  Differs from the reference code: that adds the noise to pixels in [-0.5, 0.5] as floating point
  numbers and cuts off there; here the result is rounded to the nearest of the 256 stored levels, an
  error of 1/510 at most. It trains on 25 % of the images with 15 % held out:
  `train_fraction=0.25, validation_fraction=0.15` say that, and are no default.

  Args:
    dataset: the data set.
    name: name of the stream.
    num_tasks: T.
    scenario: `"task"`, `"class"` or `"domain"`.
    classes_per_task: how many classes each task draws: a number, or the sizes of the tasks.
    selection: which examples train, validate and test; its seed draws the tasks too.

  Returns:
    The stream.

  Raises:
    ValueError: if a task is to draw more classes than there are, or the selection cannot be met.

  References:
    Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning",
    AISTATS 2011 (STL-10); Lee, Behpour and Eaton, "Sharing Less is More: Lifelong Learning in Deep
    Networks with Selective Layer Transfer", ICML 2021 (the tasks).
  """
  seed = selection.data_seed
  used = np.arange(dataset.num_classes)
  of_tasks = drawn.draw_groups(used, num_tasks, classes_per_task, seed)
  outputs = heads.drawn_outputs(of_tasks, dataset.num_classes, scenario)
  plans = []
  for task_id, group in enumerate(of_tasks):
    planning.check_present(f"{name}, task {task_id}", dataset, group)
    transform, look = _draw_look(seed, task_id, dataset)
    plans.append(
      planning.plan_task(
        f"{groups.name_classes(group)}, {look}",
        dataset,
        outputs[task_id],
        selection,
        task_id=task_id,
        pool_id=0,
        transform=transform,
        by_class=True,
      )
    )
  spec = drawn.make_drawn_spec(dataset, outputs, scenario)
  return Stream(name, spec, plans, dataset.max_value)


def _draw_look(seed: int, task_id: int, dataset: datasets.Dataset) -> tuple[functools.partial, str]:
  draw = checks.generator(seed, "pixel noise", task_id)
  mean, std = (_LEVEL * int(draw.choice(steps)) for steps in (_MEANS, _STDS))
  num_channels = dataset.train.image.shape[-1]
  channels = checks.generator(seed, "channel order", task_id).permutation(num_channels)
  transform = functools.partial(
    change_look,
    mean=mean * dataset.max_value,
    std=std * dataset.max_value,
    channels=channels,
    max_value=dataset.max_value,
    key=(seed, task_id),
  )
  order = "".join(str(channel) for channel in channels)
  return transform, f"noise {mean:+.3f} ± {std:.3f}, channels {order}"


def change_look(
  image: np.ndarray,
  *,
  mean: float,
  std: float,
  channels: np.ndarray,
  max_value: int,
  key: tuple[int, int],
) -> np.ndarray:
  """Noise is added to each image, and its channels are put in another order.

  Args:
    image: uint8 `[N, H, W, C]`.
    mean: of the noise, in levels of the stored pixels.
    std: its standard deviation, in these levels.
    channels: int `[C]`: channel i of the result is channel `channels[i]`.
    max_value: the largest value of a pixel; 0 is the smallest.
    key: seed and task; the noise of an image depends on them and on its pixels.

  Returns:
    uint8 `[N, H, W, C]`, rounded and cut off at 0 and `max_value`.
  """
  changed = np.empty_like(image)
  for row, one in enumerate(image):
    noise = mean
    if std:
      draw = checks.generator(key[0], "pixel noise", key[1], zlib.crc32(one.tobytes()))
      noise = mean + std * draw.standard_normal(one.shape, np.float32)
    changed[row] = np.clip(np.floor(one + noise + 0.5), 0, max_value)
  return changed[..., channels]
