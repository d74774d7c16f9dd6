"""Statistics of a task's examples: means of what single examples give, sums over batches.

A task's end comes with its examples as a chunk `[N, B, ...]`. The batches are scanned over and the
rows of a batch mapped, so that memory holds the gradients of B examples, whatever N is. Every
device has the whole chunk: plain local gradients are right, and the same on each of them.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary
from tagjax.core.types import Batch, Variables
from tagjax.transforms.checks import check_count

BatchFunction = Callable[[Batch], chex.ArrayTree]


def first_examples(chunk: Batch, examples: int | None) -> Batch:
  """The chunk cut to its first `examples` valid rows.

  Args:
    chunk: leading axes `[N, B]`; its valid rows stand first.
    examples: how many to keep at most; None: all.

  Returns:
    A chunk `[min(N, ceil(examples / B)), B]` whose mask is False on what is left out.
  """
  if examples is None:
    return chunk
  num_batches, batch_size = chunk.mask.shape
  kept = min(num_batches, -(-examples // batch_size))
  chunk = jax.tree.map(lambda leaf: leaf[:kept], chunk)
  rank = jnp.arange(kept * batch_size).reshape(kept, batch_size)
  return chunk._replace(mask=chunk.mask & (rank < examples))


def gradient(
  at: Boundary, variables: Variables, objective: Callable[[chex.Array, Batch], chex.Array]
) -> BatchFunction:
  """The gradient of an objective of the logits, in evaluation mode, as a function of a batch.

  Args:
    at: the boundary; only its `apply_fn` is used.
    variables: the model's variables; the gradient is taken with respect to "params".
    objective: `(unmasked logits [B, K], batch) -> scalar`.

  Returns:
    `batch -> tree like params`, of this device alone.
  """

  def of_params(params, batch):
    logits, _ = at.apply_fn({**variables, "params": params}, batch)
    return objective(logits, batch)

  return lambda batch: jax.grad(of_params)(variables["params"], batch)


def sum_over_batches(function: BatchFunction, chunk: Batch) -> chex.ArrayTree:
  """`Σ_n function(batch n)`, in float32 or wider; one batch at a time."""
  one = jax.tree.map(lambda leaf: leaf[0], chunk)
  start = jax.tree.map(
    lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)),
    jax.eval_shape(function, one),
  )

  def body(total, batch):
    return jax.tree.map(jnp.add, total, function(batch)), None

  total, _ = jax.lax.scan(body, start, chunk)
  return total


def mean_over_examples(function: BatchFunction, chunk: Batch) -> chex.ArrayTree:
  """`1/n Σ_i function(example i)` over the n valid rows; zeros if there is none.

  Args:
    function: takes a batch of one row; what it gives for rows that do not count is ignored, NaN
      too.
    chunk: leading axes `[N, B]`.

  Returns:
    Tree like the result of `function`, in float32 or wider.
  """

  def of_batch(batch):
    values = jax.vmap(function)(jax.tree.map(lambda leaf: leaf[:, None], batch))

    def valid_sum(value):
      valid = batch.mask.reshape(-1, *(1,) * (value.ndim - 1))
      return jnp.sum(jnp.where(valid, value, 0), axis=0)

    return jax.tree.map(valid_sum, values)

  return divide_by_count(sum_over_batches(of_batch, chunk), chunk)


def divide_by_count(tree: chex.ArrayTree, chunk: Batch) -> chex.ArrayTree:
  """`tree` over the number of valid rows of `chunk`, at least 1."""
  count = jnp.maximum(jnp.sum(chunk.mask), 1)
  return jax.tree.map(lambda x: x / count.astype(x.dtype), tree)


def check_examples(examples: int | None) -> None:
  """Refuses a number of examples that is not at least 1; None stands for all.

  Raises:
    ValueError: if it is out of range.
  """
  if examples is not None:
    check_count("examples", examples)
