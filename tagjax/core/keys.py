"""The random keys of a run."""

from typing import NamedTuple

import chex
import jax


class RunKeys(NamedTuple):
  """The random streams of a run, all drawn from its one key."""

  init: chex.PRNGKey
  steps: chex.PRNGKey
  order: chex.PRNGKey
  boundaries: chex.PRNGKey
  evaluations: chex.PRNGKey


_OF_EVALUATIONS = 2**31  # far from the numbers that are folded into keys elsewhere
_OF_EVALUATION_ORDERS = 2**31 + 1


def key_shape() -> jax.ShapeDtypeStruct:
  """What stands for a typed random key where only shapes matter: making one runs programs.

  >>> key_shape().shape
  ()
  """
  # A new function each time: JAX keeps what it knows of a call as long as the function lives.
  return jax.eval_shape(lambda: jax.random.key(0))


def run_keys(key: chex.PRNGKey) -> RunKeys:
  """Splits the key of a run into streams that never meet."""
  init, steps, order, boundaries = jax.random.split(key, 4)
  return RunKeys(init, steps, order, boundaries, jax.random.fold_in(key, _OF_EVALUATIONS))


def step_keys(key: chex.PRNGKey, step: chex.Array) -> tuple[chex.PRNGKey, chex.PRNGKey]:
  """The keys of a training step: of its forward pass, and of its method.

  Args:
    key: of the run.
    step: int32 scalar, training steps before it.
  """
  forward, method = jax.random.split(jax.random.fold_in(run_keys(key).steps, step))
  return forward, method


def evaluation_order_key(key: chex.PRNGKey, step: chex.Array) -> chex.PRNGKey:
  """The key of the order in which an evaluation takes the examples of each task.

  Args:
    key: of the run.
    step: int32 scalar, training steps before the evaluation.
  """
  return jax.random.fold_in(jax.random.fold_in(key, _OF_EVALUATION_ORDERS), step)
