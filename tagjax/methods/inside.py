"""What may stand inside of a method that stands around the rest of its chain."""

import jax
import optax

from tagjax.core.method import Method, lift, predicts, prepares, rehearses
from tagjax.core.types import Batch


def checked(
  inner: optax.GradientTransformation | Method, name: str, *, no_memory: str | None = None
) -> Method:
  """The optimizer that a method stands around, as a method.

  Args:
    inner: what it is given.
    name: of the method around it, for messages.
    no_memory: why `inner` must keep no examples of earlier tasks; None: it may.

  Raises:
    ValueError: if `inner` has exemplars in the training set, a prediction or phases of its own,
      makes its step from scratch; in `init`, if it keeps examples and must not.
  """
  inner = lift(inner)
  called = f"inner ({inner.name})" if inner.name else "inner"
  for has, what in (
    (inner.ignores_updates, "makes its step from scratch"),
    (rehearses(inner), "mixes exemplars of earlier tasks into the training set"),
    (prepares(inner) or predicts(inner), "has a prediction of its own"),
    (len(inner.phases) > 1, "has phases of its own"),
  ):
    if has:
      raise ValueError(f"{called} {what}, which {name} cannot hold: leave that member away")
  if no_memory is None:
    return inner

  def init(params):
    state = inner.init(params)
    # Methods that replay or project are known by the examples that they keep.
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Batch))
    if any(isinstance(node, Batch) for node in nodes):
      raise ValueError(
        f"{called} keeps examples of earlier tasks, {no_memory}; leave that member away"
      )
    return state

  return inner._replace(init=init)
