"""Learning without forgetting (LwF): the old network's answers to the new images are kept."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec
from tagjax.methods import quadratic
from tagjax.transforms.checks import check_range, is_off


class Groups(NamedTuple):
  """Outputs that share a softmax.

  Attributes:
    places: int `[G, C]`, static; the outputs of each group, filled up by others.
    active: bool `[G, C]`, which of them are its own.
  """

  places: np.ndarray
  active: chex.Array


class LwfState(NamedTuple):
  """`teacher`: tree like params, a copy of those at the last task's end (at first, the initial)."""

  teacher: chex.ArrayTree


@register("lwf", kind="modifier", traced=("strength", "temperature"))
def lwf(spec: StreamSpec, strength: float = 1.0, *, temperature: float = 2.0) -> Method:
  """LwF: adds the gradient of a distillation from the last task's network, on the current batch.

  With `z` the logits of the network, `y` those of the teacher, tau the temperature and, for every
  group G of outputs, `p` and `q` the softmax of `y / tau` and `z / tau` over G alone:

      loss = strength tau^2 sum_G mean_batch KL(p || q)

  whose gradient in the logits is `strength tau (q - p)`. The groups in task t > 0 depend on the
  scenario:

      "task"    one group for each past task, its outputs
      "class"   one group, the outputs of all past tasks together
      "domain"  one group, all outputs

  Task 0 has no group: nothing is added, to the last bit, and no pass is made. Outputs outside the
  groups never enter. The losses of past tasks are summed as in the paper, not averaged, so that
  each task keeps its weight however many follow; the strength may need to fall with their number.

  The teacher is the parameters at the last task's end, run like the student: in training mode, so
  with the batch's own statistics in BatchNorm and the same dropout masks. Both then coincide at a
  task's start, and the gradient is zero there. In evaluation mode the teacher would differ from the
  student from the start; nor could it stay the old network, since the running averages of the model
  follow the new task. Each step costs a forward and a backward pass more, and a forward pass for
  the teacher.

  Args:
    strength: weight of the loss, at least 0 (0 does nothing, with no state); the paper's is 1 but
      for the factor tau^2.
    spec: the stream's head; in `"task"`, one network body must serve all tasks: with a model that
      keeps parameters for each task, the outputs of past tasks would be computed by the current
      task's.
    temperature: tau, greater than 0; above 1 the small probabilities count more. The factor tau^2
      keeps the size of the gradient about the same for all temperatures; the paper has none, so
      its weight w is the strength w / tau^2 here.

  Returns:
    The method, to stand before the optimizer.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> classes = np.eye(2, dtype=bool).repeat(2, axis=1)
    >>> spec = StreamSpec(2, 4, classes, "task", (8, 8, 1))
    >>> method = lwf(spec, 1.0)
    >>> method.init({"w": jnp.ones(2)}).teacher["w"].tolist()
    [1.0, 1.0]

  References:
    Li, Hoiem. Learning without Forgetting. ECCV 2016.
    Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015 (the factor tau^2).

  Differs from the reference code:
    * The teacher is run on the batch at hand, not once on all images before the task, which is the
      same without augmentation, dropout and BatchNorm.
    * KL divergence instead of cross-entropy: the same gradient, and a loss of 0 at the start.
    * The new task's outputs are not trained alone first.
  """
  quadratic.check(strength)
  check_range("temperature", temperature, 0.0, math.inf, "(0, inf)")
  if is_off(strength):
    return identity()

  def init(params: chex.ArrayTree) -> LwfState:
    return LwfState(quadratic.copy(params))

  def update(updates, state: LwfState, params, *, at: Step):
    def distill(updates):
      old = {**at.variables, "params": state.teacher}
      target, _ = at.apply_fn(old, at.batch, key=at.key, train=True)
      groups, past = past_groups(spec, at.task_id)
      count = losses.mean_count(at)

      def loss_fn(logits, batch: Batch):
        values = divergence(target, logits, groups, temperature)
        total = jnp.sum(jnp.where(past, values, 0), axis=1)
        return strength * losses.masked_mean(total, batch.mask, count)

      _, grad = at.grad_fn(params, at.batch, key=at.key, loss_fn=loss_fn)
      return quadratic.add(updates, grad)

    return jax.lax.cond(at.task_id > 0, distill, lambda updates: updates, updates), state

  def consolidate(state: LwfState, variables, *, at: Boundary):
    del state, at
    return init(variables["params"]), variables

  return Method(init, update, consolidate, num_boundary_examples=0)


def divergence(
  target: chex.Array, logits: chex.Array, groups: Groups, temperature: float
) -> chex.Array:
  """`tau^2 KL(softmax(target / tau) || softmax(logits / tau))` over each group of outputs.

  The work is in proportion to the outputs of the groups, not to the groups times all outputs.

  Args:
    target: float `[B, K]`, the teacher's logits.
    logits: float `[B, K]`, the student's.
    groups: at least one output in each.
    temperature: tau, greater than 0.

  Returns:
    float `[B, G]`, in nats.

  >>> groups = Groups(np.array([[0, 1]]), jnp.ones((1, 2), bool))
  >>> divergence(jnp.zeros((1, 3)), jnp.zeros((1, 3)), groups, 2.0)
  Array([[0.]], dtype=float32)
  """

  def log_softmax(values):
    own = _of_groups(values, groups.places) / temperature
    active = jnp.broadcast_to(groups.active, own.shape)
    return jax.nn.log_softmax(losses.mask_logits(own, active))

  log_p, log_q = log_softmax(target), log_softmax(logits)
  return temperature**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def _of_groups(values: chex.Array, places: np.ndarray) -> chex.Array:
  """`values [B, K]` as `[B, G, C]`."""
  if np.array_equal(places.ravel(), np.arange(values.shape[1])):
    return values.reshape(-1, *places.shape)  # the gradient of this needs no scattering
  return values[:, places]


def past_groups(spec: StreamSpec, task_id: chex.Array) -> tuple[Groups, chex.Array]:
  """The outputs of each softmax, and bool `[G]`, which of the groups are of past tasks.

  See `lwf`.
  """
  if spec.scenario == "task":
    return _of_tasks(np.asarray(spec.classes, bool)), jnp.arange(spec.num_tasks) < task_id
  seen = np.logical_or.accumulate(spec.classes, axis=0)
  if spec.scenario == "domain":
    seen = np.ones_like(seen)
  active = jnp.asarray(seen)[jnp.maximum(task_id - 1, 0)][None, :]
  return Groups(np.arange(spec.num_outputs)[None], active), jnp.ones(1, bool)


def _of_tasks(classes: np.ndarray) -> Groups:
  """A group for each task, as wide as the largest."""
  width = classes.sum(axis=1).max()
  places = np.argsort(~classes, axis=1, kind="stable")[:, :width]
  return Groups(places, jnp.asarray(np.take_along_axis(classes, places, axis=1)))
