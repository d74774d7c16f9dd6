"""The tasks of the user's own arrays."""

from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from tagjax import datasets
from tagjax.benchmarks import checks, holdout
from tagjax.benchmarks.experience import TaskPlan
from tagjax.core import types

_FEW_BYTES = 2**28
_FEW_ROWS = 1000


def plan_arrays(
  tasks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
  *,
  scenario: types.Scenario,
  num_outputs: int | None,
  classes: ArrayLike | None,
  task_names: Sequence[str] | None,
  attributes: ArrayLike | None,
  selection: holdout.Selection,
) -> tuple[types.StreamSpec, list[TaskPlan]]:
  """Head and tasks of a stream of arrays; arguments and errors as in `Stream.from_arrays`."""
  checks.check_choice("scenario", scenario, types.SCENARIOS)
  selection = holdout.check_selection(selection)
  if len(tasks) == 0:
    raise ValueError("tasks is empty, a stream needs at least one")
  pools = [_as_pools(task_id, task) for task_id, task in enumerate(tasks)]
  _check_images(pools)
  num_outputs = _count_outputs(num_outputs, pools)
  is_taught = _as_classes(classes, pools, num_outputs, scenario)
  names = [f"task {t}" for t in range(len(pools))] if task_names is None else list(task_names)
  if len(names) != len(pools):
    raise ValueError(f"task_names has {len(names)} names for {len(pools)} tasks")
  shape = pools[0][0].image.shape[1:]
  spec = types.StreamSpec(len(pools), num_outputs, is_taught, scenario, shape)
  attributes = _as_attributes(attributes, num_outputs)
  outputs = np.arange(num_outputs, dtype=np.int32)
  plans = []
  for task_id, (train, test) in enumerate(pools):
    all_rows = (np.arange(len(train.label)), np.arange(len(test.label)))
    rows = holdout.select(selection, *all_rows, task_id=task_id, pool_id=task_id)
    plans.append(TaskPlan(names[task_id], train, test, rows, outputs, attributes=attributes))
  return spec, plans


def _as_pools(task_id: int, task: tuple) -> tuple[datasets.Examples, datasets.Examples]:
  if not hasattr(task, "__len__") or len(task) != 4:
    raise ValueError(
      f"task {task_id} has {_how_many(task)}, must be (train_image, train_label, test_image, "
      "test_label)"
    )
  pools = []
  for part, image, label in (("training", *task[:2]), ("test", *task[2:])):
    where = f"task {task_id}, {part} examples"
    if np.ma.isMaskedArray(image) or np.ma.isMaskedArray(label):
      raise ValueError(f"{where} are masked arrays, whose masks would be lost: choose rows instead")
    pool = datasets.Examples(np.asanyarray(image), np.asarray(label))
    if pool.image.ndim < 2 or pool.label.ndim < 1:
      raise ValueError(
        f"{where}: images {pool.image.shape} and labels {pool.label.shape}, must be [N, ...], [N]"
      )
    # Their upper end is checked against the head, by the stream.
    checks.check_pool(where, pool.image, pool.label, num_classes=np.iinfo(np.int32).max)
    pools.append(pool)
  return pools[0], pools[1]


def _how_many(task: object) -> str:
  return f"{len(task)} arrays" if hasattr(task, "__len__") else f"no arrays, but is {task!r:.50}"


def _check_images(pools: Sequence[tuple[datasets.Examples, datasets.Examples]]) -> None:
  first = pools[0][0].image
  if not np.issubdtype(first.dtype, np.integer) and not np.issubdtype(first.dtype, np.floating):
    raise ValueError(f"images are {first.dtype}, must be integers or floating: convert them")
  for task_id, task in enumerate(pools):
    for part, pool in zip(("training", "test"), task, strict=True):
      if (pool.image.shape[1:], pool.image.dtype) != (first.shape[1:], first.dtype):
        raise ValueError(
          f"task {task_id}, {part} images are {pool.image.dtype} {pool.image.shape[1:]}, but the "
          f"first task's are {first.dtype} {first.shape[1:]}: all must be alike"
        )
      _check_range(f"task {task_id}, {part} images", pool.image)
      _check_finite(f"task {task_id}, {part} images", pool.image)


def check_scale(images: Sequence[np.ndarray]) -> None:
  """Refuses pixels from 0 to 255 that floats hold, where nobody has said so.

  Raises:
    ValueError: with the way out.
  """
  shown = [_some(image) for image in images if image.ndim > 2]
  if not shown or not np.issubdtype(shown[0].dtype, np.floating):
    return
  largest = max(float(image.max()) for image in shown)
  is_pixels = all((image >= 0).all() and (image == np.round(image)).all() for image in shown)
  if is_pixels and 1 < largest <= 255:
    raise ValueError(
      f"images are floats that hold whole numbers up to {largest:g}: give max_value=255 if they "
      "are pixels, max_value=1 if they are meant so"
    )


def _some(image: np.ndarray) -> np.ndarray:
  """All images, of large files some: reading every page of them would take minutes."""
  if image.nbytes <= _FEW_BYTES:
    return image
  return image[np.linspace(0, len(image) - 1, _FEW_ROWS).astype(int)]


def _check_finite(where: str, image: np.ndarray) -> None:
  shown = _some(image)
  if np.issubdtype(shown.dtype, np.floating) and not np.isfinite(shown).all():
    raise ValueError(f"{where} hold NaN or infinity: mend or leave out those examples")


def _check_range(where: str, image: np.ndarray) -> None:
  """Integers of 64 bits become integers of 32 on the device, unless JAX is told otherwise."""
  if not types.holds_tokens(image.dtype) or not image.size:
    return
  bounds = np.iinfo(jax.dtypes.canonicalize_dtype(image.dtype))
  least, largest = image.min(), image.max()
  if least < bounds.min or largest > bounds.max:
    raise ValueError(
      f"{where} hold integers from {least} to {largest}, must be from {bounds.min} to {bounds.max}"
    )


def _as_attributes(attributes: ArrayLike | None, num_outputs: int) -> np.ndarray | None:
  if attributes is None:
    return None
  found = np.asarray(attributes)
  if found.ndim != 2 or len(found) != num_outputs or not np.issubdtype(found.dtype, np.number):
    raise ValueError(
      f"attributes are {found.dtype} {found.shape}, must be numbers [num_outputs, a], with "
      f"num_outputs={num_outputs}"
    )
  with np.errstate(over="ignore"):
    rows = found.astype(np.float32)
  if not (is_finite := np.isfinite(rows).all(axis=1)).all():
    raise ValueError(
      f"attributes of output {np.argmin(is_finite)} hold NaN or infinity: mend that row, or leave "
      "attributes None"
    )
  return rows


def _count_outputs(
  num_outputs: int | None, pools: Sequence[tuple[datasets.Examples, datasets.Examples]]
) -> int:
  if num_outputs is not None:
    return checks.check_integer("num_outputs", num_outputs, 1)
  return 1 + max(int(train.label.max()) for train, _ in pools)


def _as_classes(
  classes: ArrayLike | None,
  pools: Sequence[tuple[datasets.Examples, datasets.Examples]],
  num_outputs: int,
  scenario: str,
) -> np.ndarray:
  shape = (len(pools), num_outputs)
  if classes is not None:
    is_taught = np.asarray(classes)
    if is_taught.shape != shape or is_taught.dtype != bool:
      raise ValueError(
        f"classes is {is_taught.dtype} {is_taught.shape}, must be bool {shape}, [tasks, outputs]"
      )
    return is_taught
  is_taught = np.full(shape, scenario == "domain")
  if scenario != "domain":
    for task_id, (train, _) in enumerate(pools):
      present = np.unique(train.label)
      is_taught[task_id, present[present < num_outputs]] = True
  return is_taught
