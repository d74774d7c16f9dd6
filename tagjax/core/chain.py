"""Composes methods: updates, consolidations, exemplars and preparations of all members."""

import types
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import (
  Boundary,
  Cost,
  Method,
  Phase,
  Query,
  Served,
  State,
  Step,
  check_phases,
  consolidates,
  has_outcome,
  identity,
  lift,
  num_boundary_examples,
  predicts,
  prepares,
  rehearses,
  reserves,
)
from tagjax.core.types import Batch, Variables

_DEFAULT = identity()
"""What a member does where it has nothing of its own."""


def chain(*methods: optax.GradientTransformation | Method) -> Method:
  """Composes methods: the updates pass through them from left to right.

  Optax transformations are lifted on the way, so `chain(ewc(...), tagjax.tag(...))` works.

  Consolidations and preparations take the variables through the members from left to right as
  well. Exemplars of all members that rehearse are put one after another. One member may have its
  own `predict`: it gets what the preparations up to its own have made.

  Args:
    *methods: at least one method or Optax transformation.

  Returns:
    A method whose state is the tuple of their states. Its name joins theirs by "+", its settings
    are theirs by their names, and its phases are those of the one member that has more than the
    default phase.

  Raises:
    ValueError: if there is no method; if one that `ignores_updates` is not the first; if two
      members ask for different phases, have their own `predict`, or have the same name and other
      settings; if a member prepares after the one that predicts.
    TypeError: if a member is neither method nor transformation.
  """
  if not methods:
    raise ValueError("chain() needs at least one method")
  members = tuple(lift(method) for method in methods)
  _check_chain(members)

  def init(params):
    return tuple(member.init(params) for member in members)

  def update(updates, state, params, *, at: Step):
    new_state = []
    moved: dict[str, chex.ArrayTree] = {}
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      updates, member_state, *collections = member.update(
        updates, member_state, params, at=_own_key(at, position)
      )
      new_state.append(member_state)
      moved |= collections[0] if collections else {}
    return (updates, tuple(new_state), *([moved] if moved else []))

  def restart(state, params):
    return tuple(member.restart(own, params) for member, own in zip(members, state, strict=True))

  def merged(ask, state):
    figures = {}
    for member, own in zip(members, state, strict=True):
      figures |= ask(member, own)
    return figures

  return Method(
    init=init,
    update=update,
    consolidate=_chain_consolidate(members),
    rehearsal=_chain_rehearsal(members),
    prepare=_chain_prepare(members),
    predict=_chain_predict(members),
    restart=restart,
    diagnose=lambda state: merged(lambda member, own: member.diagnose(own), state),
    monitor=lambda state: merged(lambda member, own: member.monitor(own), state),
    in_use=_chain_in_use(members),
    outcome=_chain_outcome(members),
    cost=_chain_cost(members),
    name="+".join(member.name for member in members if member.name),
    settings=_merged_settings(members),
    phases=_common_phases(members),
    ignores_updates=members[0].ignores_updates,
    pads_batches=any(member.pads_batches for member in members),
    num_boundary_examples=num_boundary_examples(*members),
    requires=frozenset().union(*(member.requires for member in members)),
    notes=tuple(note for member in members for note in member.notes),
  )


def called_around(outer: Method, inner: Method) -> Method:
  """`outer`, which holds `inner`, with the name and the settings of a chain of the two.

  >>> called_around(identity()._replace(name="itaml"), identity()._replace(name="sgd")).name
  'itaml+sgd'
  """
  both = (outer, inner)
  name = "+".join(method.name for method in both if method.name)
  return outer._replace(name=name, settings=_merged_settings(both))


def _own_key(at: Any, position: int) -> Any:
  """Members of a chain must not draw the same random numbers, such as the same exemplars."""
  return at._replace(key=jax.random.fold_in(at.key, position))


def _check_chain(members: tuple[Method, ...]) -> None:
  for position, member in enumerate(members):
    check_phases(member)
    if member.ignores_updates and position > 0:
      raise ValueError(
        f"member {_called(members, position)} of the chain ignores its incoming updates "
        "(ignores_updates=True): put it first, or what stands before it has no effect"
      )
  predicting = [place for place, member in enumerate(members) if predicts(member)]
  if len(predicting) > 1:
    names = " and ".join(_called(members, place) for place in predicting)
    raise ValueError(f"members {names} of the chain have their own predict: keep one of them")
  for place in range(predicting[0] + 1, len(members)) if predicting else ():
    if prepares(members[place]):
      raise ValueError(
        f"member {_called(members, place)} of the chain prepares what member "
        f"{_called(members, predicting[0])} has made for its own predict: put it before that one"
      )


def _called(members: tuple[Method, ...], position: int) -> str:
  name = members[position].name
  return f"{position} ({name})" if name else str(position)


def _chain_consolidate(members: tuple[Method, ...]) -> Callable[..., tuple[State, Variables]]:
  """The consolidations one after another; the default if there is none."""
  if not any(consolidates(member) for member in members):
    return _DEFAULT.consolidate

  def consolidate(state, variables, *, at: Boundary):
    new_state = []
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      member_state, variables = member.consolidate(
        member_state, variables, at=_own_key(at, position)
      )
      new_state.append(member_state)
    return tuple(new_state), variables

  return consolidate


def _chain_rehearsal(members: tuple[Method, ...]) -> Callable[[State], Batch | None]:
  """The exemplars of all members that have some; the default if there is no such member."""
  if not any(rehearses(member) for member in members):
    return _DEFAULT.rehearsal

  def rehearsal(state):
    given = [member.rehearsal(own) for member, own in zip(members, state, strict=True)]
    parts = [part for part in given if part is not None]
    if len(parts) < 2:
      return parts[0] if parts else None
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

  return rehearsal


def _chain_prepare(members: tuple[Method, ...]) -> Callable[..., Served]:
  """The preparations one after another; the default if there is none."""
  if not any(prepares(member) for member in members):
    return _DEFAULT.prepare

  def prepare(state, variables, *, at: Boundary):
    served = variables
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      served = member.prepare(member_state, served, at=_own_key(at, position))
    return served

  return prepare


def _chain_in_use(members: tuple[Method, ...]) -> Callable[..., chex.ArrayTree]:
  """What all members need; the default if none has anything in reserve."""
  if not any(reserves(member) for member in members):
    return _DEFAULT.in_use

  def in_use(state, params, used):
    for member, own in zip(members, state, strict=True):
      used = member.in_use(own, params, used)
    return used

  return in_use


def _chain_outcome(members: tuple[Method, ...]) -> Callable[..., dict[str, chex.Array]]:
  """The outcomes of all members; the default if there is none."""
  if not any(has_outcome(member) for member in members):
    return _DEFAULT.outcome

  def outcome(state, task_id):
    figures: dict[str, chex.Array] = {}
    for member, own in zip(members, state, strict=True):
      figures |= member.outcome(own, task_id)
    return figures

  return outcome


def _chain_cost(members: tuple[Method, ...]) -> Callable[..., Cost | None]:
  """That of the member whose step holds most."""

  def cost(params, layer_sizes, batch_size):
    told = [member.cost(params, layer_sizes, batch_size) for member in members]
    return max(filter(None, told), key=lambda one: one.bytes, default=None)

  return cost


def _chain_predict(members: tuple[Method, ...]) -> Callable[..., chex.Array]:
  """The prediction of the one member that has its own; the default if there is none."""
  for position, member in enumerate(members):
    if predicts(member):
      return _with_own_key(member.predict, position)
  return _DEFAULT.predict


def _with_own_key(function: Callable[..., chex.Array], position: int) -> Callable[..., chex.Array]:
  def predict(served, *, at: Query):
    return function(served, at=_own_key(at, position))

  return predict


def _merged_settings(members: tuple[Method, ...]) -> Mapping[str, Any]:
  """`{name of the member: its settings}`; members that are chains have such a mapping already."""
  merged: dict[str, Any] = {}
  for member in members:
    names = set(member.name.split("+"))
    is_merged = bool(member.settings) and set(member.settings) <= names
    own = member.settings if is_merged else {member.name: member.settings}
    for name, settings in own.items():
      if settings and merged.get(name, settings) != settings:
        raise ValueError(
          f"two members of the chain are called {name!r} and have other settings: give one of them "
          "its own name, method._replace(name=...)"
        )
      if settings:
        merged[name] = settings
  return types.MappingProxyType(merged)


def _common_phases(members: tuple[Method, ...]) -> tuple[Phase, ...]:
  asked = {member.phases for member in members} - {_DEFAULT.phases}
  if len(asked) > 1:
    names = sorted([phase.name for phase in phases] for phases in asked)
    raise ValueError(f"members of the chain ask for different phases: {names}")
  return asked.pop() if asked else _DEFAULT.phases
