"""What a trial needs after each task: parameters in use, and bytes of its state."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from tagjax.engine import growth
from tagjax.engine.learner import LearnerState
from tagjax.engine.programs import Programs
from tagjax.training.memory_estimate import num_bytes


class Figures(NamedTuple):
  """After one task, an axis of lanes in front.

  Attributes:
    parameters: int64 `[S]`, in use.
    bytes: int64 `[S]`, of these parameters and of all else in the learner's state.
    outcome: see `tagjax.core.method.Method`.
  """

  parameters: np.ndarray
  bytes: np.ndarray
  outcome: dict[str, np.ndarray]


class Growth:
  """Measures what is in use; nothing is compiled unless model or method tell more than shapes do.

  Args:
    programs: of the run.
    stacked: see `tagjax.task_stacked`.
    one: shapes and dtypes of the state of one trial.

  Attributes:
    allocated: `{"parameters": number, "bytes": number}` of the static shapes of one trial.
    share_of_rows: of the bytes of the parameters those with a row a task.
  """

  def __init__(self, programs: Programs, stacked: chex.ArrayTree, one: LearnerState):
    self._programs, self._stacked = programs, stacked
    self._params = one.variables["params"]
    leaves = jax.tree.leaves(self._params)
    self._itemsizes = np.array([leaf.dtype.itemsize for leaf in leaves])
    total = num_bytes(one.variables) + num_bytes(one.method)
    self._others = total - num_bytes(self._params)
    is_row = np.array(jax.tree.leaves(stacked))
    sizes = np.array([num_bytes(leaf) for leaf in leaves])
    self.share_of_rows = float(np.sum(sizes[is_row]) / np.sum(sizes))
    self.allocated = {"parameters": sum(leaf.size for leaf in leaves), "bytes": total}

  def step_flops(self, phase: str) -> list[float] | None:
    """Operations of a training step at each task; None if no program was traced for it."""
    return self._by_task(functools.partial(self._programs.step_flops, phase))

  def evaluation_flops(self) -> list[float] | None:
    """Operations to classify an image of each task; None if no program was traced for it."""
    return self._by_task(self._programs.evaluation_flops)

  def _by_task(self, of_task: Callable[[int], float | None]) -> list[float] | None:
    number = self._programs.single.spec.num_tasks
    if (first := of_task(0)) is None:
      return None
    if of_task(number - 1) == first:
      return [first] * number
    return [of_task(task) or 0.0 for task in range(number)]

  def after(self, state: LearnerState, task_id: int, seen: Iterable[int]) -> Figures:
    """What is in use after `task_id`, when the networks of `state` have learned the tasks `seen`.

    The state is that of the programs' trials.
    """
    single = self._programs.single
    tasks = np.isin(np.arange(single.spec.num_tasks), list(seen))
    used = growth.rows_begun(self._stacked, self._params, tasks)
    lanes = self._programs.layout.num_lanes
    outcome: dict[str, Any] = {}
    if single.reserves:
      usage = self._programs.usage(state, used, tasks, task_id)
      counts, outcome = np.stack(usage.counts, axis=1), usage.outcome
    else:
      counts = np.tile(growth.counts(used, self._params, np), (lanes, 1))
    counts = counts.astype(np.int64)
    return Figures(counts.sum(axis=1), counts @ self._itemsizes + self._others, outcome)
