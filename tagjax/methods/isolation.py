"""What methods that give each task parameters of its own have in common.

Such a method stands around the optimizer: nothing may move what belongs to other tasks, not even
momentum or weight decay, so it masks the finished step.
"""

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import Method, lift, predicts, prepares, rehearses
from tagjax.core.types import Batch, StreamSpec
from tagjax.transforms import parameter_names

Kind = Literal["head", "rows", "shared"]
"""What a parameter is: outputs of all tasks on its last axis, a row a task on its first, or neither
of them."""


def check_scenario(spec: StreamSpec, name: str) -> None:
  """Refuses streams that do not tell the task of a test example.

  Raises:
    ValueError: if the scenario is not `"task"`.
  """
  if spec.scenario != "task":
    raise ValueError(
      f"{name} computes each task with parameters of its own, and scenario={spec.scenario!r} does "
      "not tell the task of a test example: use the scenario 'task'"
    )


def checked_inner(
  inner: optax.GradientTransformation | Method, name: str, *, memories: bool
) -> Method:
  """The optimizer that a method stands around, as a method.

  Args:
    inner: what it is given.
    name: of the method around it, for messages.
    memories: whether `inner` may keep examples of earlier tasks.

  Raises:
    ValueError: if `inner` has exemplars in the training set, a prediction or phases of its own,
      makes its step from scratch; in `init`, if it keeps examples and must not.
  """
  inner = lift(inner)
  for has, what in (
    (inner.ignores_updates, "makes its step from scratch"),
    (rehearses(inner), "mixes exemplars of earlier tasks into the training set"),
    (prepares(inner) or predicts(inner), "has a prediction of its own"),
    (len(inner.phases) > 1, "has phases of its own"),
  ):
    if has:
      called = f" ({inner.name})" if inner.name else ""
      raise ValueError(f"inner{called} {what}, which {name} cannot hold: leave that member away")
  if memories:
    return inner

  def init(params):
    state = inner.init(params)
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Batch))
    if any(isinstance(node, Batch) for node in nodes):
      raise ValueError(
        f"inner keeps examples of earlier tasks, and {name} freezes their parameters: nothing is "
        "forgotten, and replay has nothing to train; leave that member away"
      )
    return state

  return inner._replace(init=init)


def around(
  inner: Method,
  init: Callable[..., Any],
  update: Callable[..., Any],
  consolidate: Callable[..., Any],
  *,
  requires: Collection[str] = (),
  **others: Any,
) -> Method:
  """The method that stands around the optimizer, and passes on what this one tells.

  Args:
    inner: the optimizer; the state of the method has it under that name.
    init: see `Method`.
    update: see `Method`.
    consolidate: see `Method`.
    requires: what the model must have beside what `inner` requires.
    **others: more of the `Method`.
  """
  return Method(
    init,
    update,
    consolidate,
    diagnose=lambda state: inner.diagnose(state.inner),
    monitor=lambda state: inner.monitor(state.inner),
    ignores_updates=True,
    pads_batches=inner.pads_batches,
    requires=inner.requires.union(requires),
    notes=inner.notes,
    **others,
  )


def kinds(
  params: chex.ArrayTree, spec: StreamSpec, head: str, stacked: chex.ArrayTree | None
) -> chex.ArrayTree:
  """A tree like the parameters, of `Kind`.

  Args:
    params: the parameters.
    spec: the stream.
    head: pattern of the names of the head's parameters, whose last axis is K.
    stacked: see `tagjax.task_stacked`; None: no parameter has a row a task.

  Raises:
    ValueError: if a parameter that the pattern matches is not of K outputs, or none does and none
      has rows: tasks would share their outputs.
  """
  leaves, tree = jax.tree.flatten(params)
  flags = [False] * len(leaves) if stacked is None else jax.tree.leaves(stacked)
  made: list[Kind] = []
  for name, leaf, is_stacked in zip(parameter_names(params), leaves, flags, strict=True):
    matches = not is_stacked and fnmatchcase(name, head)
    if matches and leaf.shape[-1:] != (spec.num_outputs,):
      raise ValueError(
        f"head={head!r} matches {name} of shape {leaf.shape}, whose last axis must be the "
        f"{spec.num_outputs} outputs"
      )
    made.append("rows" if is_stacked else "head" if matches else "shared")
  if set(made) == {"shared"}:
    names = ", ".join(parameter_names(params))
    raise ValueError(f"head={head!r} matches no parameter; there are: {names}")
  return jax.tree.unflatten(tree, made)


def own_part(kind: Kind, leaf: chex.Array, spec: StreamSpec, task: chex.Array) -> chex.Array:
  """Bool, broadcasts to a leaf that is no `"shared"` one: what of it belongs to the task.

  >>> import numpy as np
  >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "task", (4, 4, 1))
  >>> own_part("head", jnp.zeros((3, 4)), spec, jnp.int32(1)).tolist()
  [[False, False, True, True]]
  """
  if kind == "rows":
    own = jnp.arange(leaf.shape[0]) == task
    return own.reshape(-1, *(1,) * (leaf.ndim - 1))
  own = jnp.asarray(spec.classes)[task]
  return own.reshape((1,) * (leaf.ndim - 1) + (-1,))


def masked(masks: chex.ArrayTree, updates: chex.ArrayTree) -> chex.ArrayTree:
  """The updates, 0 where the mask is False."""
  return jax.tree.map(lambda mask, update: jnp.where(mask, update, 0), masks, updates)
