"""Freezing of parameters by their names."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.errors import nearest

_SHOWN = 8


def parameter_names(params: chex.ArrayTree) -> list[str]:
  """The name of each parameter tensor, its path in the tree, in the order of `jax.tree.leaves`.

  >>> parameter_names({"conv0": {"kernel": 0, "bias": 1}, "scale": 2})
  ['conv0/bias', 'conv0/kernel', 'scale']
  """
  return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def freeze(*patterns: str) -> optax.GradientTransformationExtraArgs:
  """Parameters whose name matches a pattern stay as they are, to the bit.

  Stands last, after the optimizer: whatever update those parameters were to get becomes 0 (minus
  0, which also leaves a minus 0 as it is). Weight decay and momentum do not move them either. The
  first convolutions of a network, say: `freeze("conv0/*", "conv1/*")`.

  The optimizer's state of the frozen parameters is kept all the same. To save its memory, give
  them no optimizer at all: `optax.partition({"train": optimizer, "freeze": optax.set_to_zero()},
  labels)`. BatchNorm's running averages are not parameters, and go on following the batches.

  Args:
    *patterns: of names as `parameter_names` gives them; `*` stands for anything, `/` included,
      `?` for one character, `[ab]` for one of several.

  Returns:
    A stateless transformation. Its `update` ignores all extra arguments.

  Raises:
    ValueError: if there is no pattern or one is not a text; in `init`, if a pattern matches no
      parameter, or if all are frozen.

  Example:
    >>> params = {"conv0": jnp.ones(2), "head": jnp.ones(2)}
    >>> transform = optax.chain(optax.sgd(1.0), freeze("conv*"))
    >>> updates, _ = transform.update(params, transform.init(params))
    >>> updates["head"].tolist(), optax.apply_updates(params, updates)["conv0"].tolist()
    ([-1.0, -1.0], [1.0, 1.0])
  """
  if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
    raise ValueError(f"patterns must be names of parameters such as 'conv0/*', got {patterns!r}")

  def init(params: optax.Params) -> optax.EmptyState:
    _check(patterns, parameter_names(params))
    return optax.EmptyState()

  def update(updates, state, params=None, **extra: Any):
    del params, extra

    def one(path, update):
      return jnp.full_like(update, -0.0) if _matches(_name(path), patterns) else update

    return jax.tree_util.tree_map_with_path(one, updates), state

  return optax.GradientTransformationExtraArgs(init, update)


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _matches(name: str, patterns: Iterable[str]) -> bool:
  return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check(patterns: tuple[str, ...], names: list[str]) -> None:
  shown = ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if names[_SHOWN:] else "")
  for pattern in patterns:
    if not any(_matches(name, (pattern,)) for name in names):
      near = nearest(pattern, names)
      raise ValueError(f"pattern {pattern!r} matches no parameter{near}; there are: {shown}")
  if all(_matches(name, patterns) for name in names):
    raise ValueError(f"patterns {patterns!r} freeze all parameters: {shown}")
