"""A pytree of arrays as one string of bytes, and back with the same bits.

It imports nothing of tagjax; `checkpoint.py` uses it.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

Leaves = list[list]
"""`[path, dtype, shape, bytes]` of every leaf, in the order of the paths; fit for JSON.

A random key has its own shape, and a dtype that names its implementation (`key<fry>`)."""


def describe(tree: chex.ArrayTree) -> Leaves:
  """Lists the leaves of `tree`; arrays, scalars or `jax.ShapeDtypeStruct`.

  Raises:
    TypeError: if a leaf is not made of numbers.

  >>> describe({"weight": np.zeros((2, 3), np.float32), "nothing": None})
  [["['weight']", 'float32', [2, 3], 24]]
  """
  return [
    [jax.tree_util.keystr(path), *_describe_leaf(path, leaf)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  ]


def pack(tree: chex.ArrayTree) -> tuple[Leaves, np.ndarray]:
  """Copies the leaves of `tree` to the host.

  Args:
    tree: pytree of JAX arrays, typed random keys, NumPy arrays and scalars.

  Returns:
    `describe(tree)`, and the bytes of all leaves, uint8 `[n]`: a copy that shares nothing with
    the buffers of the leaves.

  Raises:
    TypeError: if a leaf is not made of numbers.
  """
  leaves = describe(tree)
  values = [jax.random.key_data(x) if _is_key(x) else x for x in jax.tree.leaves(tree)]
  data = np.empty(sum(leaf[-1] for leaf in leaves), np.uint8)
  start = 0
  for value, (*_, size) in zip(jax.device_get(values), leaves, strict=True):
    data[start : start + size] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    start += size
  return leaves, data


def unpack(data: np.ndarray, template: chex.ArrayTree) -> chex.ArrayTree:
  """The inverse of `pack`.

  Args:
    data: uint8 `[n]`, packed from a tree with the same leaves as `template`.
    template: pytree; each leaf says what comes back: a JAX array or random key (on the devices of
      the template's leaf, if it has several), a NumPy array, a NumPy or Python scalar.

  Returns:
    The tree; it shares no memory with `data`.
  """
  targets, structure = jax.tree.flatten(template)
  values, start = [], 0
  for target, (_, _, _, size) in zip(targets, describe(template), strict=True):
    stored = _stored(target)
    value = data[start : start + size].view(stored.dtype).reshape(stored.shape)
    values.append(_like(value, target))
    start += size
  return structure.unflatten(values)


def differences(leaves: Leaves, template: chex.ArrayTree, limit: int = 5) -> str:
  """Says where `leaves` and those of `template` differ; empty if they don't.

  >>> differences(describe({"a": np.zeros(2), "b": 1}), {"a": np.zeros(3), "b": 1})
  "['a']: saved float64[2], expected float64[3]"
  """
  expected = describe(template)
  if [list(leaf) for leaf in leaves] == expected:
    return ""
  was = {path: f"{dtype}{shape}" for path, dtype, shape, _ in leaves}
  now = {path: f"{dtype}{shape}" for path, dtype, shape, _ in expected}
  found = [
    f"{path}: saved {was.get(path, 'nothing')}, expected {now.get(path, 'nothing')}"
    for path in sorted(was.keys() | now.keys())
    if was.get(path) != now.get(path)
  ] or ["the same leaves in another order"]
  more = [f"{len(found) - limit} more"] if len(found) > limit else []
  return "; ".join(found[:limit] + more)


def _describe_leaf(path: tuple, leaf: Any) -> tuple[str, list[int], int]:
  if not hasattr(leaf, "dtype"):
    leaf = np.asarray(leaf)
  if not _is_key(leaf) and leaf.dtype.kind in "OSU":
    raise TypeError(f"leaf {jax.tree_util.keystr(path)} is not made of numbers: {leaf!r:.80}")
  stored = _stored(leaf)
  size = int(np.prod(stored.shape, dtype=np.int64)) * stored.dtype.itemsize
  return str(leaf.dtype), [int(length) for length in leaf.shape], size


def _is_key(leaf: Any) -> bool:
  return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored(leaf: Any) -> Any:
  """Something with the shape and dtype of the leaf's bytes."""
  if _is_key(leaf):
    # Not `key_data` itself: JAX keeps what it knows of a call as long as the function lives.
    return jax.eval_shape(lambda key: jax.random.key_data(key), leaf)
  return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _like(value: np.ndarray, target: Any) -> Any:
  if isinstance(target, np.ndarray):
    return value.copy()
  if isinstance(target, np.generic):
    return value[()]
  if isinstance(target, bool | int | float | complex):
    return type(target)(value.item())
  # jnp.array copies, device_put of NumPy memory does not (whatever `may_alias` says): the next
  # compiled step donates the buffer, and would write into `data`.
  value = jnp.array(value)
  if _is_key(target):
    value = jax.random.wrap_key_data(value, impl=_implementation(target))
  sharding = getattr(target, "sharding", None)
  if sharding is None or len(sharding.device_set) == 1:
    return value
  return jax.device_put(value, sharding)


def _implementation(key: Any) -> Any:
  """The implementation of a random key, or of a `jax.ShapeDtypeStruct` of one."""
  found = []
  jax.eval_shape(lambda traced: found.append(jax.random.key_impl(traced)), key)
  return found[0]
