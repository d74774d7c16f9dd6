"""TAG's tables: a row for each task, in full precision or, of past tasks, in half.

Rounded rows are uint16, the bits of bfloat16: of true bfloat16 arrays XLA's CPU backend converts
and copies whole tables at each write. All arithmetic is in float32.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec


def read(rows, task_id):
  """Row `task_id`."""
  return jax.lax.dynamic_index_in_dim(rows, task_id, 0, keepdims=False)


def write(rows, row, task_id):
  """`rows` with row `task_id` replaced."""
  return jax.lax.dynamic_update_index_in_dim(rows, row, task_id, 0)


def accumulate(rows, current, x, task_id, goes_on, beta):
  """Row `task_id` moves towards `x`, or sums it up where `beta` is None.

  Args:
    rows: `[T, ...]`, float or rounded.
    current: `[...]`, the exact row of the task in progress where `rows` are rounded, else None.
    x: `[...]`.
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


def products(pairs, task_id):
  """`[<row, m> for row in rows]`, `[T]`, in the dtype of `m`, for each pair of `rows` and `m`."""
  return _apart(
    lambda: [_products(rows, m) for rows, m in pairs],
    lambda: [jnp.zeros(rows.shape[0], m.dtype) * jnp.sum(m) for rows, m in pairs],
    task_id,
    min((rows.shape[0] for rows, _ in pairs), default=0),
  )


def _products(rows, m):
  axes = tuple(range(m.ndim))
  if rows.dtype == m.dtype:
    contracted = tuple(axis + 1 for axis in axes)
    return jax.lax.dot_general(
      rows, m, ((contracted, axes), ((), ())), precision="highest", out_sharding=_replicated(m)
    )
  if _row_by_row():
    one = lambda s: jnp.sum(unrounded(read(rows, s), m.dtype) * m)  # noqa: E731
    return jax.lax.map(one, jnp.arange(rows.shape[0]))
  return jnp.sum(unrounded(rows, m.dtype) * m[None], axis=tuple(axis + 1 for axis in axes))


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


def weighted_sums(triples, task_id):
  """Sums of rows by weight, `[*v.shape]`, for each triple of `weight`, `rows` and `v`.

  Row `task_id` is `v`, which may be more exact.
  """
  return _apart(
    lambda: [_weighted_sum(*triple, task_id) for triple in triples],
    lambda: [weight[0] * v for weight, _, v in triples],
    task_id,
    min((rows.shape[0] for _, rows, _ in triples), default=0),
  )


def _weighted_sum(weight, rows, v, task_id):
  if rows.dtype == v.dtype:
    return jax.lax.dot_general(weight, rows, (((0,), (0,)), ((), ())), precision="highest")
  own = read(weight, task_id) * v
  others = write(weight, jnp.zeros_like(weight[0]), task_id)
  if _row_by_row():
    one = lambda s, total: total + others[s] * unrounded(read(rows, s), v.dtype)  # noqa: E731
    return jax.lax.fori_loop(0, rows.shape[0], one, own)
  by_row = others.reshape(-1, *[1] * v.ndim)
  return jnp.sum(by_row * unrounded(rows, v.dtype), axis=0) + own


def _apart(compute, otherwise, task_id, num_tasks):
  """`compute()`, as a computation that XLA does not merge with the writing of rows before it.

  A product over rows of several axes reshapes them. A CPU would merge that with the writing, do
  both twice, and copy all rows for it. So it is the branch of a condition, of which the other one
  is taken for a task id out of range only (the weights are NaN then).
  """
  if jax.default_backend() != "cpu" or not isinstance(task_id, jax.core.Tracer):
    return compute()
  return jax.lax.cond((task_id >= 0) & (task_id < num_tasks), compute, otherwise)


def _replicated(x):
  """How a sum over all axes of `x` is sharded: explicit axes of a mesh must be told."""
  mesh = jax.typeof(x).sharding.mesh
  return NamedSharding(mesh, PartitionSpec()) if mesh.explicit_axes else None


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
