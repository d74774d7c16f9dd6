"""Units of a network that expands: which a task reaches, gets anew, loses, and splits.

Such a network has all units that it can have from the start (`tagjax.models.expandable_mlp`), see
`tagjax.core.units`; time stamps tell which of them a task has. See `tagjax.methods.den`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.units import UNBORN, below_head, by_unit, inputs_of, layers, wide
from tagjax.methods import sparsity

Units = dict[str, chex.Array]
"""`[U]` by layer."""


class Stamps(NamedTuple):
  """When units are there: in the tasks t with `born <= t < until`; int32 `[U]` by layer."""

  born: Units
  until: Units

  def active(self, task: chex.Array) -> Units:
    """Bool `[U]` by layer: the units of a task."""
    return {name: (born <= task) & (task < self.until[name]) for name, born in self.born.items()}

  def reserve(self) -> Units:
    """Bool `[U]` by layer: the units that no task has."""
    return {name: born == UNBORN for name, born in self.born.items()}

  def with_born(self, units: Units, task: chex.Array) -> "Stamps":
    """Those after these units have been born in a task."""
    born = {
      name: jnp.where(units[name], task, value).astype(jnp.int32)
      for name, value in self.born.items()
    }
    until = {name: jnp.where(units[name], UNBORN, value) for name, value in self.until.items()}
    return Stamps(born, until)


def first_of(units: chex.Array, number: chex.Numeric) -> chex.Array:
  """The first `number` of the units, or all if there are fewer."""
  return units & (jnp.cumsum(units) <= number)


def reached(params: Mapping[str, Any], outputs: chex.Array, active: Units) -> Units:
  """The units from which a path of weights that are not 0 leads to the outputs.

  Args:
    params: by layer.
    outputs: bool `[K]`.
    active: bool `[U]` by layer, the units that there are.

  Returns:
    Bool `[U]` by layer.
  """
  found: Units = {}
  above = outputs
  for name, below, _ in reversed(list(layers(params))):
    if below is None:
      break
    is_edge = _edges_between(params[name]["kernel"], active[below])
    above = active[below] & jnp.any(is_edge & above[None, :], axis=1)
    found[below] = above
  return found


def without_edges(
  params: Mapping[str, Any], units: Units, active: Units, outputs: chex.Array
) -> Units:
  """Those of the units that nothing leads into, or from which nothing leads on.

  Args:
    params: by layer.
    units: bool `[U]` by layer, those in question.
    active: bool `[U]` by layer, all that there are.
    outputs: bool `[K]`, where paths end.
  """
  useless: Units = {}
  above = outputs
  incoming = {}
  for layer in below_head(params):
    kernel = params[layer.name]["kernel"]
    incoming[layer.name] = (
      sparsity.group_norms(kernel, inputs_of(active, layer, kernel)) > 0
    ).ravel()
  for name, below, _ in reversed(list(layers(params))):
    if below is None:
      break
    is_edge = _edges_between(params[name]["kernel"], active[below])
    leads_on = jnp.any(is_edge & above[None, :], axis=1)
    useless[below] = units[below] & ~(leads_on & incoming[below])
    above = active[below] & ~useless[below]
  return useless


def _edges_between(kernel: chex.Array, below: chex.Array) -> chex.Array:
  """Bool `[U, O]`: whether an edge of the U units below to each output of a kernel is not 0."""
  return jnp.any(by_unit(kernel, len(below)) != 0, axis=0)


def drifts(params: Mapping[str, Any], anchor: Mapping[str, Any], old: Units) -> Units:
  """How far the incoming weights of each unit, from old units, and its bias have moved."""
  moved = {}
  for layer in below_head(params):
    change = jax.tree.map(jnp.subtract, params[layer.name], anchor[layer.name])
    inputs = inputs_of(old, layer, change["kernel"])
    norm = sparsity.group_norms(change["kernel"], inputs).ravel()
    moved[layer.name] = jnp.sqrt(jnp.square(norm) + jnp.square(change["bias"]))
  return moved


class Plan(NamedTuple):
  """How the units of a layer are split.

  Attributes:
    source: int32 `[U]`, the unit whose weights each takes: that of which it is a copy, or itself.
    is_copy: bool `[U]`.
    is_split: bool `[U]`, the units that have a copy now.
  """

  source: chex.Array
  is_copy: chex.Array
  is_split: chex.Array


def planned(moved: chex.Array, apart: chex.Array, reserve: chex.Array) -> Plan:
  """Gives the units in `apart` a copy each among the reserve, the farthest moved ones first.

  >>> moved, reserve = jnp.array([1.0, 3.0, 0.0]), jnp.array([False, False, True])
  >>> plan = planned(moved, jnp.array([True, True, False]), reserve)
  >>> plan.source.tolist(), plan.is_split.tolist()
  ([0, 1, 1], [False, True, False])
  """
  places = jnp.arange(len(moved), dtype=jnp.int32)
  number = jnp.minimum(jnp.sum(apart), jnp.sum(reserve))
  units = jnp.argsort(jnp.where(apart, -moved, jnp.inf), stable=True).astype(jnp.int32)
  slots = jnp.argsort(~reserve, stable=True).astype(jnp.int32)
  is_pair = places < number
  nothing = jnp.zeros(len(moved), bool)
  return Plan(
    source=places.at[slots].set(jnp.where(is_pair, units, slots)),
    is_copy=nothing.at[slots].set(is_pair),
    is_split=nothing.at[units].set(is_pair),
  )


def split_units(
  params: Mapping[str, Any],
  anchor: Mapping[str, Any],
  plans: Mapping[str, Plan],
  back: Units,
  old: Units,
) -> dict[str, Any]:
  """The parameters after a split.

  Args:
    params: by layer.
    anchor: kernel and bias of the hidden layers before the task.
    plans: of each layer.
    back: bool `[U]` by layer, units whose weights return to the anchor; what comes from units that
      are not old stays.
    old: bool `[U]` by layer, the units that there were before the task.
  """
  new = {}
  for layer in layers(params):
    name, below, _ = layer
    kernel, bias = params[name]["kernel"], params[name]["bias"]
    if name in plans:
      source, returns = plans[name].source, back[name]
      returning = inputs_of(old, layer, kernel) & wide(returns, kernel)
      kernel = jnp.where(returning, anchor[name]["kernel"], kernel[..., source])
      bias = jnp.where(returns, anchor[name]["bias"], bias[source])
    if below is not None:
      source = plans[below].source
      edges = by_unit(kernel, len(source))[:, source]
      kernel = edges.reshape(kernel.shape)
    new[name] = {**params[name], "kernel": kernel, "bias": bias}
  return new


def grown(params, fresh: Units, active: Units, key: chex.PRNGKey):
  """The parameters with new weights into the fresh units, and 0 from these into others.

  Incoming weights are uniform in ±1/√n for n inputs that there are, biases 0.
  """
  new = dict(params)
  for position, layer in enumerate(below_head(params)):
    part, is_fresh = params[layer.name], fresh[layer.name]
    kernel = part["kernel"]
    inputs = jnp.sum(inputs_of(active, layer, kernel)) * math.prod(kernel.shape[:-2])
    bound = 1 / jnp.sqrt(jnp.maximum(inputs, 1).astype(kernel.dtype))
    drawn = jax.random.uniform(jax.random.fold_in(key, position), kernel.shape, kernel.dtype, -1, 1)
    if layer.below is not None:
      kernel = jnp.where(inputs_of(fresh, layer, kernel), 0, kernel)
    kernel = jnp.where(wide(is_fresh, kernel), bound * drawn, kernel)
    bias = jnp.where(is_fresh, 0, part["bias"])
    new[layer.name] = {**part, "kernel": kernel, "bias": bias}
  return new
