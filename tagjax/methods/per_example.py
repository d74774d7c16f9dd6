"""Statistics of a task's examples: means of what single examples give, sums over batches.

A task's end comes with its examples as a chunk `[N, B, ...]`. The batches are scanned over and the
rows of a batch mapped (`tagjax.core.mapping`), so that memory holds the gradients of B examples at
most, whatever N is. Every device has the whole chunk: plain local gradients are right, and the same
on each of them.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from tagjax.core.mapping import Thin, dense, factored, is_thin
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


def mean_over_examples(
  function: BatchFunction, chunk: Batch, of: Callable[[chex.Array], chex.Array] | None = None
) -> chex.ArrayTree:
  """`1/n Σ_i of(function(example i))` over the n valid rows; zeros if there is none.

  Args:
    function: takes a batch of one row; what it gives for rows that do not count is ignored, NaN
      too.
    chunk: leading axes `[N, B]`.
    of: `jnp.square` or `jnp.abs`, of each number: that of a product is the product of those of its
      factors, so where `function` is a gradient, a kernel needs its two thin factors only, and the
      sum is one product. None: the numbers themselves.

  Returns:
    Tree like the result of `function`, in float32 or wider.
  """

  def of_example(row):
    found = factored(lambda: function(jax.tree.map(lambda leaf: leaf[None], row)))
    return jax.tree.map(functools.partial(_apply, of), found, is_leaf=is_thin)

  def of_batch(batch):
    values = jax.vmap(of_example)(batch)

    def valid_sum(value):
      if is_thin(value):
        left, right = (_valid(factor, batch.mask) for factor in value)
        rows = Thin(*(factor.reshape(-1, factor.shape[-1]) for factor in (left, right)))
        return dense(rows)
      return jnp.sum(_valid(value, batch.mask), axis=0)

    return jax.tree.map(valid_sum, values, is_leaf=is_thin)

  return divide_by_count(sum_over_batches(of_batch, chunk), chunk)


def _apply(of: Callable[[chex.Array], chex.Array] | None, value: chex.Array | Thin):
  if of is None:
    return value
  if not is_thin(value):
    return of(value)
  return Thin(*map(of, value)) if value.left.shape[0] == 1 else of(dense(value))


def _valid(values: chex.Array, mask: chex.Array) -> chex.Array:
  """Zeros for the rows that do not count, whatever they hold."""
  return jnp.where(mask.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)


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
