"""What methods that search for a configuration of shared layers have in common."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Step
from tagjax.core.sharing import ROUTED, ROUTING, searched_layers
from tagjax.core.types import Batch, Variables
from tagjax.methods.factor_penalty import FactorPenalties, add_gradient


class SearchState(Protocol):
  """What `searching` asks of a state.

  Attributes:
    anchor: the shared parameters before the task, by layer.
  """

  anchor: chex.ArrayTree


def searching(
  init: Callable[..., Any],
  update: Callable[..., Any],
  row_of: Callable[[Any, Variables, chex.Array], chex.Array],
  end: Callable[[Any, Mapping[str, Any], chex.Array, chex.Array], Any],
  **others: Any,
) -> Method:
  """A method that chooses a configuration for each task.

  At a task's end the shared parameters of the layers that its configuration does not share return
  to what they were before it. In evaluation the task in progress has its configuration so far.

  Args:
    init: see `Method`; the state is a `SearchState`.
    update: see `Method`.
    row_of: `(state, variables, task_id)`: bool `[L]`, the configuration of the task.
    end: `(state, params, task_id, row)`: the state after the task, `params` as they have become.
    **others: parts of the `Method` that tell of it: `monitor`, `outcome`, `cost`.
  """

  def consolidate(state, variables, *, at: Boundary):
    row = row_of(state, variables, at.task_id)
    params = keep_shared(variables["params"], state.anchor, row)
    state = end(state, params, at.task_id, row)
    return state, routed({**variables, "params": params}, at.task_id, row)

  def prepare(state, variables, *, at: Boundary):
    return routed(variables, at.task_id, row_of(state, variables, at.task_id))

  return Method(
    init,
    update,
    consolidate,
    prepare=prepare,
    ignores_updates=True,
    num_boundary_examples=0,
    requires=frozenset({ROUTING}),
    **others,
  )


def routed(variables: Variables, task_id: chex.Array, row: chex.Array) -> Variables:
  """The variables, with bool `[L]` as the configuration of the task."""
  routing = variables[ROUTING]
  sharing = routing["sharing"].at[task_id].set(row)
  return {**variables, ROUTING: {**routing, "sharing": sharing}}


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
  routing = at.variables[ROUTING]
  row = routing["sharing"][at.task_id]
  # The batch is of one task: the network need not be ready for several.
  routing = {**routing, "candidates": np.full((1, len(row)), ROUTED, np.int8)}
  _, grad = at.grad_fn(
    params,
    at.batch,
    variables={ROUTING: routing},
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
