"""TAG as a method of the loop: the transformation, with its task relatedness reported."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from tagjax.core.method import Method, lift
from tagjax.core.register import register
from tagjax.core.types import PartlyDefined
from tagjax.transforms import Columns, tag, task_relatedness
from tagjax.transforms.tag import Base


def tag_method(learning_rate, num_tasks: int, **options) -> Method:
  """`tagjax.tag` lifted into a `Method` that reports its weights.

  Args:
    learning_rate: as in `tagjax.tag`.
    num_tasks: T.
    **options: as in `tagjax.tag`.

  Returns:
    The method. Its diagnostics hold `task_relatedness`, float32 `[P, T]`: the weight of each past
    task for each of the P parameter tensors, in the order of `jax.tree.leaves`.
  """

  def diagnose(state):
    rows = jax.tree.leaves(task_relatedness(state))
    weights = jnp.stack(rows).astype(jnp.float32)
    return {"task_relatedness": PartlyDefined(weights, weights > 0)}

  method = lift(tag(learning_rate, num_tasks, **options), diagnose=diagnose)
  return method._replace(name="tag")


def _declare(name: str, base: Base) -> Callable[..., Method]:
  """Declares TAG with one base; all of them share the section `tag` of the config."""

  def make(
    learning_rate: float,
    num_tasks: int,
    *,
    b: float = 5.0,
    bias_correction: Literal["task", "epoch"] = "task",
    accumulator_dtype: Literal["float32", "bfloat16"] = "float32",
    steps_per_epoch: tuple[int, ...] | None = None,
    columns: Columns | None = None,
  ) -> Method:
    """TAG: steps are smaller in directions that mattered to an earlier task and conflict with it.

    Args:
      learning_rate: of all tasks.
      num_tasks: T.
      b: sharpness of the weights exp(-b cos), at least 0.
      bias_correction: the step counter of `tag_adam` restarts with each `"task"` or `"epoch"`.
      accumulator_dtype: of the moments of past tasks; `"bfloat16"` halves TAG's state.
      steps_per_epoch: of each task.
      columns: which device holds which part of the state.
    """
    return tag_method(
      learning_rate,
      num_tasks,
      b=b,
      base=base,
      bias_correction=bias_correction,
      accumulator_dtype=accumulator_dtype,
      columns=columns or Columns(),
      steps_per_epoch=steps_per_epoch if bias_correction == "epoch" else None,
    )

  make.__doc__ = (make.__doc__ or "").replace("TAG:", f"TAG with the base {base}:", 1)
  traced = ("learning_rate", "b")
  return register(name, kind="optimizer", section="tag", traced=traced, needs_past=True)(make)


_NAMES: dict[str, Base] = {
  "tag": "rmsprop",
  "tag_rmsprop": "rmsprop",
  "tag_adagrad": "adagrad",
  "tag_adam": "adam",
}
for _name, _base in _NAMES.items():
  _declare(_name, _base)
