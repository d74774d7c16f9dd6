"""TAG as a method of the loop: the transformation, with its task relatedness reported."""

import jax
import jax.numpy as jnp

from tagjax.core.method import Method, lift
from tagjax.transforms import tag, task_relatedness


def tag_method(learning_rate, num_tasks: int, **options) -> Method:
  """`tagjax.tag` lifted into a `Method` that reports its weights.

  Args:
    learning_rate: as in `tagjax.tag`.
    num_tasks: T.
    **options: as in `tagjax.tag`.

  Returns:
    The method. Its diagnostics hold `task_relatedness`, float32 `[P, T]`: the weight of each
    task (NaN where it is not a past task) for each of the P parameter tensors, in the order of
    `jax.tree.leaves`.
  """

  def diagnose(state):
    rows = jax.tree.leaves(task_relatedness(state))
    return {"task_relatedness": jnp.stack(rows).astype(jnp.float32)}

  return lift(tag(learning_rate, num_tasks, **options), diagnose=diagnose)
