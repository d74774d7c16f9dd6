"""Memories within the state of a method."""

from typing import Any

import jax

from tagjax.memory.class_quota import ClassQuotaState
from tagjax.memory.reservoir import ReservoirState
from tagjax.memory.ring import RingState


def memories(state: Any) -> list[ReservoirState | RingState | ClassQuotaState]:
  """The memories of exemplars that a state holds, of whatever method it is.

  >>> import jax.numpy as jnp
  >>> [type(memory).__name__ for memory in memories((ReservoirState({}, jnp.zeros(())), 1.0))]
  ['ReservoirState']
  """
  kinds = (ReservoirState, RingState, ClassQuotaState)
  nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kinds))
  return [node for node in nodes if isinstance(node, kinds)]
