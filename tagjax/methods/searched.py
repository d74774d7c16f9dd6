"""What methods that search for a configuration of shared layers have in common."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

from tagjax.core.sharing import searched_layers
from tagjax.core.types import Variables


def routed(variables: Variables, task_id: chex.Array, row: chex.Array) -> Variables:
  """The variables, with bool `[L]` as the configuration of the task."""
  routing = variables["routing"]
  sharing = routing["sharing"].at[task_id].set(row)
  return {**variables, "routing": {**routing, "sharing": sharing}}


def keep_shared(
  params: Mapping[str, Any], anchor: Mapping[str, Any], row: chex.Array
) -> dict[str, Any]:
  """The parameters, with the shared ones of `anchor` where `row`, bool `[L]`, does not share."""
  kept = dict(params)
  for layer, is_shared in zip(searched_layers(params), row, strict=True):
    shared = jax.tree.map(
      lambda now, before, is_shared=is_shared: jnp.where(is_shared, now, before),
      params[layer]["shared"],
      anchor[layer],
    )
    kept[layer] = {**params[layer], "shared": shared}
  return kept


def anchor_of(params: Mapping[str, Any]) -> dict[str, Any]:
  """A copy of the shared parameters, by layer."""
  return {
    layer: jax.tree.map(jnp.copy, params[layer]["shared"]) for layer in searched_layers(params)
  }
