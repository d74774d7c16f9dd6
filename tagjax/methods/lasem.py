r"""LASEM: expectation maximisation over which layers a task shares with the others."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core import losses
from tagjax.core.method import Cost, Method, Step
from tagjax.core.register import register
from tagjax.core.sharing import ROUTED, ROUTING, resolve_sharing, searched_layers
from tagjax.methods.factor_penalty import checked
from tagjax.methods.searched import (
  anchor_of,
  known_gradient,
  learned_none,
  routed,
  searching,
  with_penalties,
)
from tagjax.transforms.checks import check_choice, check_count, check_range

Likelihood = Literal["mean", "product"]
Prior = Literal["mean", "count"]

MOST_CONFIGURATIONS = 1024
"""More than that take longer than anyone waits: as many passes in each step."""


class LasemState(NamedTuple):
  """State of `lasem`, for n configurations.

  Attributes:
    prior: float32 `[n]`, π of the task being learned.
    posterior: float32 `[n]`, q of the last minibatch.
    total: float32 `[n]`, sum of the posteriors of the task, or counts of the largest.
    steps: int32 scalar, minibatches of the task, each with a posterior.
    anchor: the shared parameters before the task, by layer.
    chosen: int32 `[T]`, index of the configuration of each task; -1: not learned yet.
    certainty: float32 `[T]`, π of that configuration when it was chosen.
  """

  prior: chex.Array
  posterior: chex.Array
  total: chex.Array
  steps: chex.Array
  anchor: chex.ArrayTree
  chosen: chex.Array
  certainty: chex.Array


@register("lasem", kind="modifier", shares="factors", needs_past=False)
def lasem(
  *,
  groups: tuple[int, ...] | None = None,
  candidates: tuple[str, ...] | None = None,
  likelihood: Likelihood = "mean",
  prior: Prior = "mean",
  reset_prior: bool = False,
  fixed: str | None = None,
  fixed_probability: float = 0.9,
  at_once: int | None = None,
  steps_per_epoch: tuple[int, ...] | None = None,
  orthogonality: float = 0.05,
  base_l2: float = 1e-7,
  own_l2: float = 1e-9,
) -> Method:
  r"""LASEM: learns all configurations of shared layers at once and keeps the likeliest.

  Configuration c says of each of the L layers whether the task shares it. A step of a task that is
  learned for the first time:

      1. E: l_c = mean over the batch of the probability of the true label, without dropout
            q_c = π_c l_c / Σ π l
      2. M: g = Σ_c q_c ∇ CE_c, with dropout of its own for each c
      3. after the step: π = mean of all q of the task so far

  At the task's end the configuration with the largest π is kept. Where it shares a layer, the
  shared parameters stay as they have become; elsewhere they return to what they were before the
  task. A task that comes again is trained in its configuration, with an ordinary gradient. In
  evaluation the task in progress has the likeliest configuration so far.

  A step computes layer l, from 0, for 2^(l+1) beginnings of configurations, and hidden layers and
  head for 2^L. The reported training loss is that of the configuration which "routing" has, all
  layers shared for a new task.

  The log has the posterior and π, means over the steps of each chunk (`Run.monitored`); the results
  tell the shared layers of each task and the probability of its configuration (`Run.outcomes`).

  The network is a searched one (`--config.hps.sharing=searched`), and the paper gives each task a
  fresh optimizer (`--config.fresh_optimizer`).

  Args:
    groups: LASEM-group: sizes of groups of consecutive layers, each shared or not as a whole, from
      the image on; 2^G configurations. None: each layer is a group.
    candidates: the configurations to choose from, by name or row as in `hps.sharing`; None: all.
    likelihood: `"mean"`, or the `"product"` of the probabilities over the batch.
    prior: `"mean"` of the posteriors, or `"count"`: how often each was the largest, from 1 on.
    reset_prior: whether the prior starts anew with each epoch.
    fixed: a configuration whose posterior is `fixed_probability` at all steps, for analysis; None:
      the posterior is computed.
    fixed_probability: in (0, 1]; the other configurations share the rest.
    at_once: how many configurations are computed side by side, the others one such group after
      another, which takes less memory and more time; None: all.
    steps_per_epoch: of each task, for `reset_prior`.
    orthogonality: see `factor_penalty`; a layer counts by the posterior of sharing it.
    base_l2: see `factor_penalty`.
    own_l2: see `factor_penalty`.

  Returns:
    The method; its state is a `LasemState`. It ignores the updates that it is given.

  Raises:
    ValueError: if an argument is out of range or excludes another; in `init`, if groups,
      candidates or `fixed` do not fit the network, or there are too many configurations.

  Differs from the reference code:
    * A shared layer that no task has shared yet returns to the values with which the network
      started, where that draws new ones.
    * Where no configuration gives any probability, the posterior is the prior, not zero.
    * The gradient is taken before any parameter changes.
    * A task that comes again works; there it divides by zero unless the prior counts.
    * `reset_prior` works; there it raises.

  References:
    Lee, Behpour, Eaton. Sharing Less is More: Lifelong Learning in Deep Networks with Selective
      Layer Transfer. ICML 2021.
  """
  _check(groups, candidates, likelihood, prior, fixed_probability, at_once)
  if reset_prior and steps_per_epoch is None:
    raise ValueError("reset_prior=True needs steps_per_epoch, the training steps of an epoch")
  penalties = checked(orthogonality, base_l2, own_l2)
  epoch_steps = None if steps_per_epoch is None else np.asarray(steps_per_epoch, np.int32)

  def table_of(params) -> "Table":
    return configurations(len(searched_layers(params)), groups, candidates, at_once)

  def init(params):
    table, chosen = table_of(params), learned_none(params, jnp.int32(-1))
    if fixed is not None:
      _fixed(fixed, fixed_probability, table)
    return _begin(table, prior, params, chosen, jnp.zeros(len(chosen)))

  def update(updates, state, params, *, at: Step):
    del updates
    table = table_of(params)

    def search():
      began = _restarted(state, table, prior, epoch_steps, at) if reset_prior else state
      posterior = _posterior(began.prior, likelihood, table, params, at)
      if fixed is not None:
        posterior = _fixed(fixed, fixed_probability, table)
      shared = posterior @ jnp.asarray(table.rows, jnp.float32)
      grad = _gradient(posterior, table, params, at)
      grad = with_penalties(grad, params, shared, penalties, at)
      return grad, _counted(began, posterior, prior)

    def train_again():
      grad, row = known_gradient(params, at)
      return with_penalties(grad, params, row, penalties, at), state

    return jax.lax.cond(state.chosen[at.task_id] >= 0, train_again, search)

  def row_of(state, variables, task_id):
    return jnp.asarray(table_of(variables["params"]).rows)[_index(state, task_id)]

  def end(state, params, task_id, row):
    del row
    index = _index(state, task_id)
    is_new = state.chosen[task_id] < 0
    probability = jnp.where(is_new, state.prior[index], state.certainty[task_id])
    chosen = state.chosen.at[task_id].set(index)
    certainty = state.certainty.at[task_id].set(probability)
    return _begin(table_of(params), prior, params, chosen, certainty)

  def outcome(state, task_id):
    table = configurations(len(state.anchor), groups, candidates, at_once)
    row = jnp.asarray(table.rows)[_index(state, task_id)]
    probability = jnp.where(
      state.chosen[task_id] >= 0, state.certainty[task_id], jnp.max(state.prior)
    )
    return {"shared_layers": row.astype(jnp.float32), "configuration_probability": probability}

  def cost(params, layer_sizes, batch_size):
    return _cost(table_of(params), layer_sizes, batch_size)

  return searching(
    init,
    update,
    row_of,
    end,
    monitor=lambda state: {"posterior": state.posterior, "prior": state.prior},
    outcome=outcome,
    cost=cost,
  )


def _check(groups, candidates, likelihood, prior, fixed_probability, at_once) -> None:
  check_choice("likelihood", likelihood, ("mean", "product"))
  check_choice("prior", prior, ("mean", "count"))
  check_range("fixed_probability", fixed_probability, 0.0, 1.0, "(0, 1]")
  if groups is not None and candidates is not None:
    raise ValueError("candidates excludes groups: give one of them")
  for size in groups or ():
    check_count("groups", size)
  if candidates is not None and not candidates:
    raise ValueError("candidates=() names no configuration: give at least one, or none of the key")
  if at_once is not None:
    check_count("at_once", at_once)
    if candidates is not None:
      raise ValueError(f"at_once={at_once} divides all configurations: give no candidates with it")


class Table(NamedTuple):
  """The configurations, and how a step goes through them.

  Attributes:
    rows: bool `[n, L]`, True where the layer is shared.
    heads: bool `[h, L]`, what the first layers are in each of the h parts that are computed one
      after another; configuration i of part j is row `i · h + j`.
    tails: int8 `[n / h, L]`, the configurations of a part, as `tagjax.core.sharing` has it.
  """

  rows: np.ndarray
  heads: np.ndarray
  tails: np.ndarray


def configurations(
  num_layers: int,
  groups: Sequence[int] | None = None,
  candidates: Sequence[str] | None = None,
  at_once: int | None = None,
) -> Table:
  """All configurations: the first layer (or group) varies fastest, shared before not shared.

  Args:
    num_layers: L.
    groups: see `lasem`.
    candidates: see `lasem`.
    at_once: see `lasem`.

  Raises:
    ValueError: see `lasem`.

  >>> configurations(2).rows.tolist()
  [[True, True], [False, True], [True, False], [False, False]]
  """
  if candidates is not None:
    rows = np.array([_named("candidates", one, num_layers) for one in candidates])
    return Table(rows, rows[:1], rows.astype(np.int8))
  sizes = (1,) * num_layers if groups is None else tuple(groups)
  if sum(sizes) != num_layers:
    raise ValueError(
      f"groups={sizes} has {sum(sizes)} layers: the sizes must add up to the {num_layers} layers "
      "of the network that are searched"
    )
  number = 2 ** len(sizes)
  if number > MOST_CONFIGURATIONS:
    raise ValueError(
      f"groups={tuple(sizes)} of {num_layers} layers make {number:,} configurations, and each of "
      f"two passes of a step computes {sum(_all_beginnings(sizes)):,} convolutions for "
      f"them; at most {MOST_CONFIGURATIONS:,} are possible. Give larger groups "
      f"(LASEM-group), such as groups={_larger(num_layers)} with 16 configurations"
    )
  rows = _all_rows(sizes)
  apart = 0 if at_once is None else len(sizes) - int(math.log2(min(at_once, number)))
  tails = rows[:: 2**apart].astype(np.int8)
  tails[:, : sum(sizes[:apart])] = ROUTED
  return Table(rows, rows[: 2**apart], tails)


def _all_beginnings(sizes: Sequence[int]) -> list[int]:
  """For each layer, how many beginnings of all configurations end with it."""
  return [2 ** (group + 1) for group, size in enumerate(sizes) for _ in range(size)]


def _larger(num_layers: int) -> tuple[int, ...]:
  return tuple(map(len, np.array_split(np.arange(num_layers), 4)))


def _all_rows(sizes: Sequence[int]) -> np.ndarray:
  each = [choice[::-1] for choice in itertools.product((True, False), repeat=len(sizes))]
  return np.repeat(np.array(each, bool), sizes, axis=1)


def _named(option: str, name: str, num_layers: int) -> tuple[bool, ...]:
  try:
    return resolve_sharing(name, num_layers)
  except ValueError as error:
    raise ValueError(f"{option}: {error}") from error


def _cost(table: Table, layer_sizes: Sequence[int], batch_size: int) -> Cost:
  """What a step computes, and the least that its gradient keeps: the outputs of the layers."""
  (number, layers), parts = table.rows.shape, len(table.heads)
  tails = table.tails.tolist()
  beginnings = [len({tuple(row[: layer + 1]) for row in tails}) for layer in range(layers)]
  kept = batch_size * sum(n * size for n, size in zip(beginnings, layer_sizes, strict=False)) * 4
  at_once = f", {number // parts} at once" if parts > 1 else ""
  return Cost(
    f"{number} configurations of {layers} layers{at_once}: each of two passes of a step computes "
    f"{parts * sum(beginnings)} convolutions (one configuration after another {number * layers})",
    kept,
    "set lasem.at_once to a smaller number, or larger lasem.groups (LASEM-group)",
  )


def _begin(
  table: Table, prior: Prior, params: Any, chosen: chex.Array, certainty: chex.Array
) -> LasemState:
  """The state before a task."""
  number = len(table.rows)
  uniform = jnp.full(number, 1 / number, jnp.float32)
  total = jnp.ones(number) if prior == "count" else jnp.zeros(number)
  return LasemState(
    uniform,
    jnp.copy(uniform),
    total,
    jnp.zeros((), jnp.int32),
    anchor_of(params),
    chosen,
    certainty,
  )


def _index(state: LasemState, task_id: chex.Array) -> chex.Array:
  """The configuration of a task: the one that was chosen, or the likeliest so far."""
  chosen = state.chosen[task_id]
  return jnp.where(chosen >= 0, chosen, jnp.argmax(state.prior).astype(jnp.int32))


def _restarted(state, table, prior, epoch_steps, at: Step) -> LasemState:
  """The state with a new prior where an epoch begins."""
  anew = state.steps % jnp.asarray(epoch_steps)[at.task_id] == 0
  number = len(table.rows)
  total = jnp.ones(number) if prior == "count" else jnp.zeros(number)
  return state._replace(
    prior=jnp.where(anew, jnp.full(number, 1 / number, jnp.float32), state.prior),
    total=jnp.where(anew, total, state.total),
    steps=jnp.where(anew, 0, state.steps),
  )


def _counted(state: LasemState, posterior: chex.Array, prior: Prior) -> LasemState:
  steps = state.steps + 1
  if prior == "count":
    total = state.total.at[jnp.argmax(posterior)].add(1)
    new = total / jnp.sum(total)
  else:
    total = state.total + posterior
    new = total / steps
  return state._replace(prior=new, posterior=posterior, total=total, steps=steps)


def _routing(head: chex.Array, table: Table, at: Step) -> dict[str, Any]:
  """What asks the network for one part of the configurations."""
  return {**routed(at.variables, at.task_id, head)[ROUTING], "candidates": table.tails}


def _cross_entropies(logits: chex.Array, batch, at: Step) -> chex.Array:
  """`[n, B]`."""
  active = at.active_fn(batch)
  return jax.vmap(lambda one: losses.cross_entropy(one, batch.label, active))(logits)


def _posterior(prior, likelihood: Likelihood, table: Table, params, at: Step) -> chex.Array:
  """q, the same on every device."""

  def of_part(head):
    variables = {**at.variables, "params": params, ROUTING: _routing(head, table, at)}
    logits, _ = at.apply_fn(variables, at.batch, train=False)
    return _cross_entropies(logits, at.batch, at)

  heads = jnp.asarray(table.heads)
  values = of_part(heads[0])[None] if len(heads) == 1 else jax.lax.map(of_part, heads)
  values = jnp.swapaxes(values, 0, 1).reshape(len(table.rows), -1)
  mask = at.batch.mask[None, :]
  if likelihood == "product":
    sums = -jnp.sum(jnp.where(mask, values, 0), axis=1)
    return jax.nn.softmax(jnp.log(prior) + jnp.sum(at.gather(sums[None]), axis=0))
  sums = jnp.sum(jnp.where(mask, jnp.exp(-values), 0), axis=1)
  weighted = prior * jnp.sum(at.gather(sums[None]), axis=0) / jnp.sum(at.gather(at.batch.mask))
  total = jnp.sum(weighted)
  return jnp.where(total > 0, weighted / (total + 1e-30), prior)


def _fixed(name: str, probability: float, table: Table) -> chex.Array:
  number, wanted = len(table.rows), _named("fixed", name, table.rows.shape[1])
  is_it = (table.rows == np.array(wanted)).all(axis=1)
  if not is_it.any():
    raise ValueError(f"fixed={name!r} is not one of the {number} configurations to choose from")
  others = (1 - probability) / max(number - 1, 1)
  return jnp.asarray(np.where(is_it, probability, others), jnp.float32)


def _gradient(posterior: chex.Array, table: Table, params, at: Step) -> chex.ArrayTree:
  """Σ_c q_c ∇ CE_c."""
  count = losses.mean_count(at)
  weights = posterior.reshape(len(table.tails), len(table.heads))

  def of_part(part):
    def loss(logits, batch):
      values = _cross_entropies(logits, batch, at)
      each = jax.vmap(lambda one: losses.masked_mean(one, batch.mask, count))(values)
      return jnp.sum(weights[:, part] * each)

    routing = _routing(jnp.asarray(table.heads)[part], table, at)
    key = jax.random.fold_in(at.key, part)
    return at.grad_fn(params, at.batch, variables={ROUTING: routing}, loss_fn=loss, key=key)[1]

  if len(table.heads) == 1:
    return of_part(0)

  def add(total, part):
    return jax.tree.map(jnp.add, total, of_part(part)), None

  start = jax.tree.map(jnp.zeros_like, params)
  return jax.lax.scan(add, start, jnp.arange(len(table.heads)))[0]
