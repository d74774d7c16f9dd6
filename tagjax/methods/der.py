"""DER and DER++, dark experience replay: the network keeps to the logits that it once gave."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.method import Method, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import items, reservoir
from tagjax.memory.capacity import Per
from tagjax.methods.er import add_gradient, check_replay
from tagjax.transforms.checks import is_off


class DarkExemplars(NamedTuple):
  """Examples as the network saw them.

  Attributes:
    batch: `Batch` with leading axis `[N]`.
    logits: float32 `[N, K]`, unmasked, of the forward pass in which the example was learned.
  """

  batch: Batch
  logits: chex.Array


class DerState(NamedTuple):
  """`memory`: reservoir whose items are `DarkExemplars`."""

  memory: reservoir.ReservoirState


@register("der", kind="modifier", shares="memory", traced=("strength",), family=reservoir.FAMILY)
def der(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 10,
  variant: reservoir.Variant = "item",
  strength: float = 0.5,
) -> Method:
  """Dark experience replay: adds the gradient of a distillation from the memory's logits.

  It begins with the first task.

  In each step, in this order:

      R ~ memory, uniformly, without replacement, `batch_size` exemplars (all, if it holds fewer)
      updates <- updates + strength · ∇ (1/|R|) Σ_{(x, z) in R} e(x, z)
          where e(x, z) = (1/|A|) Σ_{k in A} (h_k(x) - z_k)²
      offer the current batch, with its logits z, to the memory (a reservoir)

  h(x) are the logits now, z those of the forward pass with which x was learned. A are the outputs
  of x's task in the scenario "task", else all of the head: there the outputs of classes to come are
  held low for exemplars of old ones, which is what keeps the old classes in the running.
  Labels are not used. As in the paper, replay needs no task boundary: it begins with the second
  step of the stream, as soon as anything is stored. Batch normalisation takes its statistics from R
  by itself; the running averages follow the current batch only. Over several epochs an example is
  offered each time that it comes, with its logits of that time.

  Args:
    spec: the stream.
    capacity: exemplars for each pair of task and class, or in total; 0: no memory.
    per: `"class"` or `"total"`.
    batch_size: exemplars replayed a step.
    variant: of the reservoir: `"item"` or `"reference"`, see `tagjax.memory.reservoir.insert`.
    strength: weight of the distillation, the paper's alpha, at least 0.

  Returns:
    The method; its state is a `DerState`, or `()` if `capacity` or `strength` is 0: the updates
    then pass as they are.

  Raises:
    ValueError: if an argument is out of range.

  >>> import numpy as np, optax
  >>> from tagjax.core.chain import chain
  >>> spec = StreamSpec(2, 2, np.eye(2, dtype=bool), "task", (4, 4, 1))
  >>> chain(der(spec, capacity=5), optax.sgd(0.1)).init({})[0].memory.items.logits.shape
  (10, 2)

  References:
    Buzzega et al. Dark Experience for General Continual Learning: a Strong, Simple Baseline.
    NeurIPS 2020.

  Differs from the reference code (Mammoth): in the scenario "task" only the outputs of the
  exemplar's task are compared (there all of the head); running averages of batch normalisation do
  not see the replay batch; images are not augmented.
  """
  return _dark_replay(spec, capacity, per, batch_size, variant, strength, 0.0)


@register(
  "derpp",
  section="der",
  kind="modifier",
  shares="memory",
  traced=("strength", "label_strength"),
  family=reservoir.FAMILY,
)
def der_plus_plus(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 10,
  variant: reservoir.Variant = "item",
  strength: float = 0.5,
  label_strength: float = 0.5,
) -> Method:
  """DER++: `der` that also learns the labels of a second, independent replay batch.

      updates <- updates + strength · (as `der`, of R) + label_strength · ∇ (1/|R'|) Σ_{R'} CE(x, y)

  R and R' are drawn independently from the same memory and pass through the network one after the
  other, so that they do not share the statistics of batch normalisation. The cross-entropy runs
  over the outputs that compete for the exemplar now.

  Args:
    spec: the stream.
    capacity: exemplars for each pair of task and class, or in total; 0: no memory.
    per: `"class"` or `"total"`.
    batch_size: exemplars in each of the two replay batches.
    variant: of the reservoir: `"item"` or `"reference"`, see `tagjax.memory.reservoir.insert`.
    strength: weight of the distillation, the paper's alpha, at least 0; 0 leaves it out.
    label_strength: weight of the labels' cross-entropy, the paper's beta, at least 0; 0 is `der`.

  Returns:
    The method; its state is a `DerState`, or `()` if `capacity` or both strengths are 0.

  Raises:
    ValueError: if an argument is out of range.

  References:
    Buzzega et al. Dark Experience for General Continual Learning: a Strong, Simple Baseline.
    NeurIPS 2020.

  Differs from the reference code (Mammoth): as `der`; and the cross-entropy is masked as that of
  the current batch is.
  """
  return _dark_replay(spec, capacity, per, batch_size, variant, strength, label_strength)


def _dark_replay(spec, capacity, per, batch_size, variant, strength, label_strength):
  check_replay(batch_size, strength=strength, label_strength=label_strength)
  reservoir.check_variant(variant)
  size = sizes.total_capacity(spec, capacity, per)
  if size == 0 or (is_off(strength) and is_off(label_strength)):
    return identity()

  def init(params):
    del params
    example = DarkExemplars(
      batch=items.exemplar(spec),
      logits=jax.ShapeDtypeStruct((spec.num_outputs,), jnp.float32),
    )
    return DerState(reservoir.empty(size, example))

  def update(updates, state, params, *, at):
    dark_keys, label_keys, insert_key = jax.random.split(at.key, 6).reshape(3, 2)
    sampled = []
    if not is_off(strength):
      replay, mask = reservoir.sample(state.memory, dark_keys[0], batch_size)
      _, grad = at.grad_fn(
        params,
        replay.batch._replace(mask=mask),
        key=dark_keys[1],
        loss_fn=lambda logits, batch: distillation(
          logits, replay.logits, _compared(spec, batch.task_id), batch.mask
        ),
      )
      updates = add_gradient(updates, grad, strength, jnp.any(mask))
      sampled.append(replay)
    if not is_off(label_strength):
      replay, mask = reservoir.sample(state.memory, label_keys[0], batch_size)
      _, grad = at.grad_fn(params, replay.batch._replace(mask=mask), key=label_keys[1])
      updates = add_gradient(updates, grad, label_strength, jnp.any(mask))
      sampled.append(replay)
    current = items.gather_in_order(at.gather, DarkExemplars(at.batch, at.logits))
    mask = current.batch.mask
    memory = reservoir.insert(
      state.memory, current, mask, insert_key[0], variant=variant, after=sampled
    )
    return updates, DerState(memory)

  return Method(init, update)


def _compared(spec: StreamSpec, task_id: chex.Array) -> chex.Array:
  """Bool `[B, K]`: the outputs at which exemplars of these tasks keep to their logits."""
  if spec.scenario == "task":
    return jnp.asarray(spec.classes)[task_id]
  return jnp.ones((task_id.shape[0], spec.num_outputs), bool)


def distillation(
  logits: chex.Array, target: chex.Array, compared: chex.Array, mask: chex.Array
) -> chex.Array:
  """Mean over the valid rows of the mean squared error over each row's compared outputs.

  Args:
    logits: float `[B, K]`, of the network now.
    target: float `[B, K]`, those stored.
    compared: bool `[B, K]`.
    mask: bool `[B]`.

  Returns:
    float scalar; 0 if no row is valid.
  """
  squares = jnp.where(compared, jnp.square(logits - target), 0)
  errors = jnp.sum(squares, axis=-1) / jnp.maximum(jnp.sum(compared, axis=-1), 1)
  return losses.masked_mean(errors, mask, jnp.sum(mask, dtype=jnp.float32))
