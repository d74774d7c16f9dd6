r"""HAT: a hard attention over the units, learned with each task, that freezes what it has used."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import Boundary, EpochStep, Method, Step, num_boundary_examples
from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.core.units import ATTENTION, below_head, edges_in_use, hidden_layers, inputs_of, wide
from tagjax.methods import isolation
from tagjax.transforms.checks import check_range

LARGEST_EXPONENT = 50.0
"""Beyond it the factor of the embeddings' gradient is cut off: cosh would overflow."""


class HatState(NamedTuple):
  """State of `hat`.

  Attributes:
    inner: of the optimizer.
    learned: bool `[T]`, the tasks that have ended.
    attended: float32 `[U]` by layer, the largest gate of each unit over these tasks.
  """

  inner: Any
  learned: chex.Array
  attended: dict[str, chex.Array]


@register("hat", kind="modifier")
def hat(
  spec: StreamSpec,
  inner: optax.GradientTransformation | Method,
  *,
  strength: float = 0.75,
  max_embedding: float = 6.0,
  stacked: chex.ArrayTree | None = None,
) -> Method:
  r"""HAT: hard attention to the task.

  Unit i of layer l has the gate `a_{l,i}^t = sigmoid(s e_{l,i}^t)` in task t, with an embedding e
  of the task's own. Within an epoch of B steps, b = 0, ..., B - 1, the gates harden:

      s = 1/s_max + (s_max - 1/s_max) b / (B - 1)

  and in evaluation `s = s_max`. With `a^<t`, the largest gate at s_max of all other tasks that have
  ended, a step of task t has

      loss  = CE + strength · Σ_{l,i} a_{l,i}^t (1 - a_{l,i}^<t) / Σ_{l,i} (1 - a_{l,i}^<t)
      ∂/∂e <- s_max/s · (cosh(s e) + 1) / (cosh(e) + 1) · ∂/∂e             |s e| at most 50
      step of w_{l,ij} <- (1 - min(a_{l,i}^<t, a_{l-1,j}^<t)) · step       j = an input: a = 1
      step of b_{l,i}  <- (1 - a_{l,i}^<t) · step
      e <- e within ± max_embedding

  Of the head the outputs of t move, of the embeddings the row of t. Where gates are 0 or 1 in
  float32, which they are for |s e| > 104, later tasks change nothing of an earlier one, to the bit;
  others change it as little as they are away from 0 and 1.

  It stands around the optimizer and whatever is chained with it, and scales the finished step: with
  SGD that is the scaled gradient of the paper, and RMSProp or TAG do not undo it. Methods that
  replay examples have nothing to do. The reported training loss is that at s_max. A step costs one
  forward pass more than naive training, since the learner's own is at s_max.

  The model is one with attention, `attention_mlp` or `attention_cnn`, and s_max its `scale`.

  Args:
    spec: the stream, of the scenario `"task"`.
    inner: the optimizer: an Optax transformation, or a method or chain that ends with one.
    strength: c, weight of the gates that are not in use yet; at least 0.
    max_embedding: largest magnitude of an embedding, greater than 0.
    stacked: see `tagjax.task_stacked`; None: the embeddings alone have a row a task.

  Returns:
    The method; its state is a `HatState`. It makes its own gradient, so it stands first. `outcome`
    tells `share_attended`, of each layer the share of its units that tasks so far have in use.

  Raises:
    ValueError: if an argument is out of range, the stream does not tell tasks apart, or `inner` has
      a memory, exemplars, phases or a prediction of its own; in a step, if the loop does not tell
      where it stands (`Step.epoch_step`).

  Example:
    >>> import numpy as np
    >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "task", (4, 4, 1))
    >>> hat(spec, optax.sgd(0.05)).requires
    frozenset({'attention'})

  References:
    Serrà, Surís, Miron, Karatzoglou. Overcoming Catastrophic Forgetting with Hard Attention to the
      Task. ICML 2018, arXiv:1801.01423.

  Differs from the reference code:
    * The factor of a weight is on the step, not on its gradient; equal for SGD.
    * The head belongs to the tasks by outputs; there each task has a head of its own.
    * Gradients are not clipped (there to a norm of 10,000), the learning rate is that of the run,
      without patience.
    * An epoch of one step has s = s_max.
  """
  isolation.check_scenario(spec, "hat")
  check_range("strength", strength, 0.0, math.inf, "[0, inf)")
  check_range("max_embedding", max_embedding, 0.0, math.inf, "(0, inf)")
  inner = isolation.checked_inner(inner, "hat", memories=False)

  def kinds_of(params):
    marks = stacked
    if marks is None:
      marks = {
        name: jax.tree.map(lambda _, n=name: n == ATTENTION, params[name]) for name in params
      }
    return isolation.kinds(params, spec, "head/*", marks)

  def init(params):
    kinds_of(params)
    nothing = {name: jnp.zeros(rows.shape[1]) for name, rows in params[ATTENTION].items()}
    return HatState(inner.init(params), jnp.zeros(spec.num_tasks, bool), nothing)

  def update(updates, state: HatState, params, *, at: Step):
    del updates
    largest = at.variables[ATTENTION]["scale"]
    scale = annealed(at.epoch_step, largest)
    embeddings = params[ATTENTION]
    used = attended(embeddings, state.learned.at[at.task_id].set(False), largest)
    loss, grad = at.grad_fn(params, at.batch, variables={ATTENTION: {"scale": scale}})
    of_sparsity = jax.grad(unused_share)(embeddings, used, at.task_id, scale)
    grad = {
      **grad,
      ATTENTION: jax.tree.map(
        lambda g, r, e: compensated(g + strength * r, e, scale, largest),
        grad[ATTENTION],
        of_sparsity,
        embeddings,
      ),
    }
    told = at._replace(loss=loss, grad=grad)
    updates, inner_state, *moved = inner.update(grad, state.inner, params, at=told)
    updates = bounded(own_step(protected(updates, params, used), params, at.task_id), embeddings)
    return updates, state._replace(inner=inner_state), *moved

  def own_step(updates, params, task):
    """The step, 0 on what belongs to other tasks: rows, and outputs of the head."""

    def part(kind, update):
      if kind == "shared":
        return update
      return jnp.where(isolation.own_part(kind, update, spec, task), update, 0)

    return jax.tree.map(part, kinds_of(params), updates)

  def bounded(updates, embeddings):
    """The step, after which no embedding that it moves is larger than allowed."""

    def part(update, value):
      within = jnp.clip(value + update, -max_embedding, max_embedding) - value
      return jnp.where(update == 0, update, within)

    return {**updates, ATTENTION: jax.tree.map(part, updates[ATTENTION], embeddings)}

  def consolidate(state: HatState, variables, *, at: Boundary):
    inner_state, variables = inner.consolidate(state.inner, variables, at=at)
    learned = state.learned.at[at.task_id].set(True)
    scale = variables[ATTENTION]["scale"]
    used = attended(variables["params"][ATTENTION], learned, scale)
    return HatState(inner_state, learned, used), variables

  def in_use(state: HatState, params, used):
    needed = edges_in_use(params, {name: a > 0.5 for name, a in state.attended.items()})
    return {
      name: jax.tree.map(jnp.logical_and, used[name], needed[name])
      if name in needed
      else used[name]
      for name in used
    }

  def outcome(state: HatState, task_id):
    del task_id
    names = hidden_layers(state.attended)
    return {"share_attended": jnp.stack([jnp.mean(state.attended[name]) for name in names])}

  return isolation.around(
    inner,
    init,
    update,
    consolidate,
    in_use=in_use,
    outcome=outcome,
    num_boundary_examples=num_boundary_examples(inner),
    requires={ATTENTION},
  )


def annealed(where: EpochStep | None, largest: chex.Array) -> chex.Array:
  """The hardness s of a step of an epoch.

  Raises:
    ValueError: if the loop does not tell where the step stands.
  """
  if where is None:
    raise ValueError(
      "hat hardens its gates within each epoch, and the loop does not tell where in one a step "
      "stands: give Step.epoch_step"
    )
  last = jnp.maximum(where.num_steps - 1, 1)
  share = jnp.where(where.num_steps > 1, where.step / last, 1.0)
  return 1 / largest + (largest - 1 / largest) * share


def attended(
  embeddings: Mapping[str, chex.Array], tasks: chex.Array, scale: chex.Array
) -> dict[str, chex.Array]:
  """The largest gate of each unit over some tasks, `[U]` by layer.

  Args:
    embeddings: `[T, U]` by layer.
    tasks: bool `[T]`, those that count.
    scale: s.
  """
  return {
    name: jnp.max(jnp.where(tasks[:, None], jax.nn.sigmoid(scale * rows), 0), axis=0)
    for name, rows in embeddings.items()
  }


def unused_share(
  embeddings: Mapping[str, chex.Array],
  used: Mapping[str, chex.Array],
  task: chex.Array,
  scale: chex.Array,
) -> chex.Array:
  """`Σ a (1 - used) / Σ (1 - used)`: how much of what is not in use yet the task takes."""
  free = {name: 1 - value for name, value in used.items()}
  taken = sum(
    jnp.sum(jax.nn.sigmoid(scale * rows[task]) * free[name]) for name, rows in embeddings.items()
  )
  return taken / jnp.maximum(sum(map(jnp.sum, free.values())), 1e-6)


def compensated(
  grad: chex.Array, embedding: chex.Array, scale: chex.Array, largest: chex.Array
) -> chex.Array:
  """The gradient of embeddings as if it had passed a gate of scale 1, times s_max."""
  exponent = jnp.clip(scale * embedding, -LARGEST_EXPONENT, LARGEST_EXPONENT)
  return grad * (largest / scale) * (jnp.cosh(exponent) + 1) / (jnp.cosh(embedding) + 1)


def protected(
  updates: Mapping[str, Any], params: Mapping[str, Any], used: Mapping[str, chex.Array]
) -> dict[str, Any]:
  """The step, smaller where edges and units are in use by other tasks; the head as it is."""
  new = dict(updates)
  for layer in below_head(params):
    kernel, above = params[layer.name]["kernel"], used[layer.name]
    inputs = inputs_of(used, layer, kernel).astype(above.dtype)
    factor = 1 - jnp.minimum(inputs, wide(above, kernel))
    own = updates[layer.name]
    own = {**own, "kernel": own["kernel"] * factor, "bias": own["bias"] * (1 - above)}
    new[layer.name] = own
  return new
