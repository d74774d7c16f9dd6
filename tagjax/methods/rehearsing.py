"""What methods share that mix exemplars into the training set and have a loss of their own."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import ApplyFn, Step
from tagjax.core.types import Batch, Variables

_ROWS = 256
"""Most exemplars of a pass through the network."""


def exchange_loss(
  updates: chex.ArrayTree,
  params: chex.ArrayTree,
  batch: Batch,
  loss_fn: Callable[[chex.Array, Batch], chex.Array],
  *,
  at: Step,
) -> chex.ArrayTree:
  """`updates` with the gradient of another loss in the place of the learner's.

      updates + ∇ loss_fn(batch) - at.grad

  What methods before have added is kept. Where there are none, `updates` is `at.grad` itself: then
  the result is the new gradient, and XLA leaves out the backward pass of the learner's loss, which
  nobody looks at.

  Args:
    updates: of the step.
    params: of the step.
    batch: of this device.
    loss_fn: `(unmasked logits, batch) -> scalar`, see `tagjax.core.method.GradFn`.
    at: the step.
  """
  _, grad = at.grad_fn(params, batch, key=at.key, loss_fn=loss_fn)
  if updates is at.grad:
    return grad
  return jax.tree.map(lambda u, new, old: u + (new - old).astype(u.dtype), updates, grad, at.grad)


def chunk_features(apply_fn: ApplyFn, variables: Variables, chunk: Batch) -> chex.Array:
  """Features of all examples of a chunk `[N, B, ...]` in evaluation mode, float `[N B, d]`."""
  return _in_batches(apply_fn, variables, chunk, features=True)


def of_exemplars(
  apply_fn: ApplyFn, variables: Variables, exemplars: Batch, *, features: bool = False
) -> chex.Array:
  """Logits or features of exemplars `[M, ...]` in evaluation mode, `[M, K]` or `[M, d]`."""
  number = len(exemplars.mask)
  rows = min(number, _ROWS)
  passes = -(-number // rows)

  def split(leaf):
    lacking = passes * rows - number
    return jnp.pad(leaf, ((0, lacking),) + ((0, 0),) * (leaf.ndim - 1)).reshape(
      passes, rows, *leaf.shape[1:]
    )

  chunk = jax.tree.map(split, exemplars)
  return _in_batches(apply_fn, variables, chunk, features=features)[:number]


def _in_batches(apply_fn, variables, chunk: Batch, *, features: bool) -> chex.Array:
  def one(batch):
    return apply_fn(variables, batch, features=features)[0]

  values = jax.lax.map(one, chunk)
  return values.reshape(values.shape[0] * values.shape[1], -1)
