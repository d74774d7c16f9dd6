"""TAG's tables: a flat row for each task, in full precision or, of past tasks, in half.

Rounded rows are uint16, the bits of bfloat16: of true bfloat16 arrays XLA's CPU backend converts
and copies whole tables at each write. All arithmetic is in float32.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp


def read(rows, task_id):
  """Row `task_id`."""
  return jax.lax.dynamic_index_in_dim(rows, task_id, 0, keepdims=False)


def write(rows, row, task_id):
  """`rows` with row `task_id` replaced."""
  return jax.lax.dynamic_update_index_in_dim(rows, row, task_id, 0)


def accumulate(rows, current, x, task_id, goes_on, beta):
  """Row `task_id` moves towards `x`, or sums it up where `beta` is None.

  Args:
    rows: `[T, n]`, float or rounded.
    current: `[n]`, the exact row of the task in progress where `rows` are rounded, else None.
    x: `[n]`.
    task_id: int32 scalar.
    goes_on: bool scalar, whether `current` is of this task; else its row is read anew.
    beta: decay.

  Returns:
    All rows, and this one as exact as it is known.
  """
  row = read(rows, task_id)
  if current is not None:
    row = jnp.where(goes_on, current, unrounded(row, x.dtype))
  if beta is None:
    row = row + x
  else:
    row = jnp.asarray(beta, x.dtype) * row + jnp.asarray(1 - beta, x.dtype) * x
  # XLA would otherwise compute the row twice, once from the old rows, and copy them all: hence the
  # barrier here, and the reading back there.
  if current is not None:
    row = jax.lax.optimization_barrier(row)
    return write(rows, rounded(row), task_id), row
  rows = write(rows, row, task_id)
  return rows, read(rows, task_id)


def products(rows, m):
  """`<row, m>` of all rows, in the dtype of `m`: `[T]`."""
  if rows.dtype == m.dtype:
    return jnp.matmul(rows, m, precision="highest")
  if _row_by_row():
    one = lambda s, dots: dots.at[s].set(jnp.sum(unrounded(read(rows, s), m.dtype) * m))  # noqa: E731
    return jax.lax.fori_loop(0, rows.shape[0], one, jnp.zeros(rows.shape[0], m.dtype))
  return jnp.sum(unrounded(rows, m.dtype) * m[None], axis=1)


def lengths(norm, dots, first, m, task_id, total):
  """The norms of all rows with that of row `task_id` renewed, and the norm of `m`.

  They differ where the row is a rounded `m`: a cosine is of two directions as they are used.
  `total` adds up over the devices that hold the columns of a row.
  """
  if first.dtype == m.dtype:
    norm = write(norm, jnp.sqrt(read(dots, task_id)), task_id)
    return norm, read(norm, task_id)
  kept = unrounded(read(first, task_id), m.dtype)
  norm = write(norm, jnp.sqrt(total(jnp.sum(kept * kept))), task_id)
  return norm, jnp.sqrt(total(jnp.sum(m * m)))


def weighted_sum(weight, rows, v, task_id):
  """Sum of the rows by weight, `[p.size]`; row `task_id` is `v`, which may be more exact."""
  if rows.dtype == v.dtype:
    return jnp.matmul(weight, rows, precision="highest")
  own = read(weight, task_id) * v
  others = write(weight, jnp.zeros_like(weight[0]), task_id)
  if _row_by_row():
    one = lambda s, total: total + others[s] * unrounded(read(rows, s), v.dtype)  # noqa: E731
    return jax.lax.fori_loop(0, rows.shape[0], one, own)
  return jnp.sum(others[:, None] * unrounded(rows, v.dtype), axis=0) + own


def _row_by_row() -> bool:
  """How sums over rounded rows are computed; of the same numbers, so only rounding differs.

  On a CPU, XLA takes the sum over an array that is to be converted first apart, into float32 copies
  of all rows; a loop over them needs none and is as fast as the product of float32 rows. Elsewhere
  the sum converts what it reads, and a loop would wait for T small programs, one after another.
  """
  return jax.default_backend() == "cpu"


def rounded(row):
  """`row` in bfloat16, as the uint16 of its bits."""
  return jax.lax.bitcast_convert_type(row.astype(jnp.bfloat16), jnp.uint16)


def unrounded(rows: chex.Array, dtype: Any = jnp.float32) -> chex.Array:
  """The numbers in rows of `ScaleByTagState`, uint16 (the bits of bfloat16), in `dtype`.

  >>> unrounded(jnp.array([0x3F80, 0xC000], jnp.uint16)).tolist()
  [1.0, -2.0]
  """
  return jax.lax.bitcast_convert_type(rows, jnp.bfloat16).astype(dtype)
