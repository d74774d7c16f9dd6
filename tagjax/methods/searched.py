"""What methods that search for a configuration of shared layers have in common."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core import losses
from tagjax.core.method import Step
from tagjax.core.sharing import ROUTED, searched_layers
from tagjax.core.types import Batch, Variables
from tagjax.methods.factor_penalty import FactorPenalties, add_gradient


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


def task_loss(logits: chex.Array, batch: Batch, at: Step) -> chex.Array:
  """Mean cross-entropy of the valid rows of all devices.

  Args:
    logits: float `[B, K]`, unmasked.
    batch: those examples.
    at: the step.
  """
  values = losses.cross_entropy(logits, batch.label, at.active_fn(batch))
  return losses.masked_mean(values, batch.mask, losses.mean_count(at))


def known_gradient(params: chex.ArrayTree, at: Step) -> tuple[chex.ArrayTree, chex.Array]:
  """The gradient in the configuration that the task has, and that row, float `[L]`."""
  routing = at.variables["routing"]
  row = routing["sharing"][at.task_id]
  # The batch is of one task: the network need not be ready for several.
  routing = {**routing, "candidates": np.full((1, len(row)), ROUTED, np.int8)}
  _, grad = at.grad_fn(
    params,
    at.batch,
    variables={"routing": routing},
    loss_fn=lambda logits, batch: task_loss(logits[0], batch, at),
  )
  return grad, row.astype(jnp.float32)


def with_penalties(
  grad: chex.ArrayTree,
  params: chex.ArrayTree,
  shared: chex.Array,
  penalties: FactorPenalties,
  at: Step,
) -> chex.ArrayTree:
  """`grad` with that of the penalties; a layer counts by `shared`, float `[L]`."""
  weights = dict(zip(searched_layers(params), shared, strict=True))
  return add_gradient(grad, params, at.task_id, weights, penalties)


def learned_none(params: chex.ArrayTree, value: Any) -> chex.Array:
  """`[T]` of the value, T the number of tasks that the network has."""
  first = params[searched_layers(params)[0]]["task"]
  return jnp.full(len(jax.tree.leaves(first)[0]), value)
