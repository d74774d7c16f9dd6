"""ER-ACE, replay with asymmetric cross-entropy: new classes do not push old ones down."""

import chex
import jax
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.chain import chain
from tagjax.core.method import Method, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec
from tagjax.memory import capacity as sizes
from tagjax.memory import reservoir
from tagjax.memory.capacity import Per
from tagjax.methods.er import er


@register(
  "er_ace",
  section="er",
  kind="modifier",
  shares="memory",
  traced=("strength",),
  family=reservoir.FAMILY,
)
def er_ace(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  batch_size: int = 10,
  variant: reservoir.Variant = "item",
  strength: float = 1.0,
) -> Method:
  """ER-ACE: `er` whose current batch competes among its own classes only.

  From the second task on, with A(x) the outputs that compete for x as a rule and C the classes
  that the current batch B holds:

      updates <- updates + ∇ (1/|B|) Σ_{(x, y) in B} [CE(x, y; A(x) ∩ C) - CE(x, y; A(x))]
      updates <- updates + strength · ∇ (1/|R|) Σ_{(x, y) in R} CE(x, y; A(x))

  The first line exchanges the loss of the current batch: gradients that come from the left of the
  chain are kept, so that it composes with other methods. Exemplars R keep the whole softmax. What
  it changes is largest in the scenario "class", where A(x) holds all classes seen; in the scenario
  "task" it is the same as ER whenever a batch holds all classes of its task. A batch of one class
  teaches nothing by itself.

  Args:
    spec: the stream.
    capacity: exemplars for each pair of task and class, or in total; 0: the method does nothing.
    per: `"class"` or `"total"`.
    batch_size: exemplars replayed a step.
    variant: of the reservoir: `"item"` or `"reference"`, see `tagjax.memory.reservoir.insert`.
    strength: weight of the replay loss, at least 0; 0 replays nothing and keeps the asymmetric
      loss.

  Returns:
    The method; its state is `((), ErState)`, or `()` if `capacity` is 0.

  Raises:
    ValueError: if an argument is out of range.

  >>> import numpy as np, optax
  >>> spec = StreamSpec(2, 2, np.eye(2, dtype=bool), "class", (4, 4, 1))
  >>> chain(er_ace(spec, capacity=5), optax.sgd(0.1)).init({})[0][1].memory.items.image.shape
  (10, 4, 4, 1)

  References:
    Caccia et al. New Insights on Reducing Abrupt Representation Change in Online Continual
    Learning. ICLR 2022.

  Differs from the reference code: outputs of classes that have not been seen never compete, here
  as elsewhere in tagjax (there they do); the exchange of the loss takes a pass of its own, whose
  dropout differs from that of the first pass.
  """
  replay = er(
    spec, capacity=capacity, per=per, batch_size=batch_size, variant=variant, strength=strength
  )
  if sizes.total_capacity(spec, capacity, per) == 0:
    return identity()
  return chain(_asymmetric(spec.num_outputs), replay)


def _asymmetric(num_outputs: int) -> Method:
  """Exchanges the loss of the current batch for that among the batch's own classes."""

  def update(updates, state, params, *, at: Step):
    def exchange(updates):
      present = _classes(at.gather(at.batch), num_outputs)
      count = losses.mean_count(at)

      def loss_fn(logits, batch):
        usual = at.active_fn(batch)
        change = losses.cross_entropy(logits, batch.label, usual & present[None, :])
        change -= losses.cross_entropy(logits, batch.label, usual)
        return losses.masked_mean(change, batch.mask, count)

      _, grad = at.grad_fn(params, at.batch, key=at.key, loss_fn=loss_fn)
      return jax.tree.map(jnp.add, updates, grad)

    return jax.lax.cond(at.task_id > 0, exchange, lambda updates: updates, updates), state

  return identity()._replace(update=update)


def _classes(batch: Batch, num_outputs: int) -> chex.Array:
  """Bool `[K]`: the outputs that are the label of a valid row."""
  return jnp.zeros(num_outputs, bool).at[batch.label].max(batch.mask)
