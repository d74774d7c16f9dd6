r"""DARTS transfer: a mixture of the shared and the own kind of each layer, its weights learned."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core.method import Method, Step
from tagjax.core.register import register
from tagjax.core.sharing import MIXED, ROUTING, searched_layers
from tagjax.methods.factor_penalty import checked
from tagjax.methods.searched import (
  anchor_of,
  known_gradient,
  learned_none,
  searching,
  task_loss,
  with_penalties,
)
from tagjax.transforms.checks import check_range


class DartsState(NamedTuple):
  """State of `darts`.

  Attributes:
    logits: float32 `[L, 2]`, a of the task being learned: of its own layer, of the shared one.
    optimizer: state of the logits' optimizer.
    anchor: the shared parameters before the task, by layer.
    learned: bool `[T]`, the tasks that have ended.
    shared: bool `[T, L]`, the layers that these share.
    steps: int32 scalar, steps of the task.
    epochs: int32 scalar, epochs of the tasks before it.
  """

  logits: chex.Array
  optimizer: optax.OptState
  anchor: chex.ArrayTree
  learned: chex.Array
  shared: chex.Array
  steps: chex.Array
  epochs: chex.Array


@register("darts", kind="modifier", shares="factors", needs_past=False)
def darts(
  *,
  learning_rate: float = 1e-4,
  decay: float = 0.0,
  steps_per_epoch: tuple[int, ...] | None = None,
  orthogonality: float = 0.05,
  base_l2: float = 1e-7,
  own_l2: float = 1e-9,
) -> Method:
  r"""DARTS transfer (first order): each layer is a mixture; its heavier kind is kept.

  A layer of a task that is learned for the first time is `softmax(a)[0] · ReLU(own) +
  softmax(a)[1] · ReLU(shared)`, with logits a that start at 0. A step:

      1. a <- a − RMSProp(∇_a CE)
      2. the gradient of CE by the parameters at the new a, on the same minibatch

  Both have dropout of their own. The optimizer of the logits is TensorFlow 1's RMSProp, whose state
  starts anew with each task. At the task's end a layer is shared if `a[1] > a[0]`; what is not
  shared returns to the values before the task, as in `lasem`. A task that comes again is trained in
  its configuration. The reported training loss is not that of the mixture, but of the configuration
  in "routing": all layers shared for a new task. The log has the weight of each shared layer,
  `"mixture"` (`Run.monitored`), the results the shared layers of each task (`Run.outcomes`).

  Args:
    learning_rate: of the logits; at least 0. The schedule of the run does not change it.
    decay: d of `learning_rate / (1 + d e)` in epoch e of the stream, from 0; at least 0.
    steps_per_epoch: of each task, for `decay`.
    orthogonality: see `factor_penalty`; all layers count.
    base_l2: see `factor_penalty`.
    own_l2: see `factor_penalty`.

  Returns:
    The method; its state is a `DartsState`. It ignores the updates that it is given.

  Raises:
    ValueError: if a number is out of range, or `decay` has no `steps_per_epoch`.

  Differs from the reference code:
    * The second order is not there. That of the reference never ran: its cross-entropy has no
      second derivative, and for DF-CNN it is not implemented.
    * A returning task steps its shared layers once, where that lists them twice.
    * A shared layer that no task has shared yet returns to the values of the start, see `lasem`.

  References:
    Liu, Simonyan, Yang. DARTS: Differentiable Architecture Search. ICLR 2019. As a baseline in Lee,
      Behpour, Eaton. Sharing Less is More. ICML 2021.
  """
  check_range("learning_rate", learning_rate, 0.0, float("inf"), "[0, inf)")
  check_range("decay", decay, 0.0, float("inf"), "[0, inf)")
  if decay and steps_per_epoch is None:
    raise ValueError(f"decay={decay} needs steps_per_epoch, the training steps of an epoch")
  penalties = checked(orthogonality, base_l2, own_l2)
  lengths = None if steps_per_epoch is None else np.asarray(steps_per_epoch, np.int32)
  # The factor follows, so that the rate may be traced and decay.
  direction = optax.rmsprop(1.0, decay=0.9, eps=1e-10, initial_scale=1.0)

  def begin(params, learned, shared, epochs) -> DartsState:
    logits = jnp.zeros((len(searched_layers(params)), 2))
    nothing = jnp.zeros((), jnp.int32)
    state = direction.init(logits)
    return DartsState(logits, state, anchor_of(params), learned, shared, nothing, epochs)

  def init(params):
    learned = learned_none(params, False)
    shared = jnp.zeros((len(learned), len(searched_layers(params))), bool)
    return begin(params, learned, shared, jnp.zeros((), jnp.int32))

  def update(updates, state, params, *, at: Step):
    del updates
    first, second = jax.random.split(at.key)

    def search():
      grad = _logits_gradient(state.logits, params, first, at)
      step, optimizer = direction.update(grad, state.optimizer)
      logits = state.logits + _rate(state, at.task_id) * step
      _, grad = at.grad_fn(
        params,
        at.batch,
        variables={ROUTING: _mixed(logits, at)},
        loss_fn=lambda logits, batch: task_loss(logits[0], batch, at),
        key=second,
      )
      new = state._replace(logits=logits, optimizer=optimizer, steps=state.steps + 1)
      return with_penalties(grad, params, jnp.ones(len(logits)), penalties, at), new

    def train_again():
      grad, row = known_gradient(params, at)
      new = state._replace(steps=state.steps + 1)
      return with_penalties(grad, params, row, penalties, at), new

    return jax.lax.cond(state.learned[at.task_id], train_again, search)

  def _rate(state, task_id):
    if lengths is None:
      return learning_rate
    epoch = state.epochs + state.steps // jnp.asarray(lengths)[task_id]
    return learning_rate / (1 + decay * epoch)

  def end(state, params, task_id, row):
    learned = state.learned.at[task_id].set(True)
    length = 1 if lengths is None else jnp.asarray(lengths)[task_id]
    shared = state.shared.at[task_id].set(row)
    return begin(params, learned, shared, state.epochs + state.steps // length)

  return searching(
    init,
    update,
    _row,
    end,
    monitor=lambda state: {"mixture": jax.nn.softmax(state.logits, axis=1)[:, 1]},
    outcome=lambda state, task_id: {"shared_layers": state.shared[task_id].astype(jnp.float32)},
  )


def _row(state: DartsState, variables, task_id) -> chex.Array:
  """Bool `[L]`: the configuration of the task, the one that it has so far if it is in progress."""
  so_far = state.logits[:, 1] > state.logits[:, 0]
  return jnp.where(state.learned[task_id], variables[ROUTING]["sharing"][task_id], so_far)


def _mixed(logits: chex.Array, at: Step) -> dict[str, Any]:
  """What asks the network for the mixture of all layers."""
  mixture = jax.nn.softmax(logits, axis=1)
  candidates = np.full((1, len(logits)), MIXED, np.int8)
  return {**at.variables[ROUTING], "mixture": mixture, "candidates": candidates}


def _logits_gradient(logits: chex.Array, params, key, at: Step) -> chex.Array:
  """∇_a CE, averaged over the devices."""

  def loss(logits):
    variables = {**at.variables, "params": params, ROUTING: _mixed(logits, at)}
    out, _ = at.apply_fn(variables, at.batch, key=key, train=True)
    return task_loss(out[0], at.batch, at)

  return jnp.mean(at.gather(jax.grad(loss)(logits)[None]), axis=0)
