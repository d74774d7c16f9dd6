"""iCaRL: rehearsal of exemplars, distillation, and the nearest mean of exemplars."""

from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, Query, Step, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.memory import class_quota, herding
from tagjax.memory.capacity import Per
from tagjax.methods import quadratic, rehearsing
from tagjax.transforms.checks import check_choice

Classifier = Literal["nearest_mean", "head"]


class IcarlState(NamedTuple):
  """What iCaRL keeps.

  Attributes:
    memory: the exemplars.
    teacher: tree like params, a copy of those at the last task's end (at first, the initial).
  """

  memory: class_quota.ClassQuotaState
  teacher: chex.ArrayTree


class Means(NamedTuple):
  """What the nearest mean needs.

  Attributes:
    variables: the model's.
    mean: float32 `[K, d]`, of each class, of length 1.
    is_known: bool `[K]`, whether there is an exemplar of the class.
  """

  variables: Variables
  mean: chex.Array
  is_known: chex.Array


@register("icarl", kind="modifier", shares="memory", traced=("strength",))
def icarl(
  spec: StreamSpec,
  *,
  capacity: int = 1,
  per: Per = "class",
  selection: class_quota.Selection = "herding",
  classifier: Classifier = "nearest_mean",
  strength: float = 1.0,
) -> Method:
  """iCaRL: learns by sigmoids and distillation, predicts by the nearest mean of exemplars.

  The exemplars are mixed into the training set of every later task. With g the sigmoid of the
  logits, q that of the old network's and b the binary cross-entropy, the loss of an example (x, y)
  in task t, in the place of the learner's, is

      Σ_{k in N} b([y = k], g_k(x)) + strength Σ_{k in O} b(q_k(x), g_k(x))

  N are the outputs that t teaches, O those that earlier tasks taught and t does not, both of the
  outputs that compete for x. The loss is averaged over the batch, new examples and exemplars alike;
  in the first task there is no O. When a task ends, its exemplars are chosen
  (`tagjax.memory.class_quota.update`) and the network becomes the old one.

  To classify, with f the features (the input of the head) divided by their length and m_k the mean
  of f over the exemplars of class k, divided by its length:

      logit_k(x) = -|f(x) - m_k|²

  The means are made once an evaluation. While the first examples of a task are learned there are no
  exemplars of its classes: until it ends, the head predicts.

  The teacher runs as the student does, in training mode, with the statistics of the batch and the
  same dropout masks (see `tagjax.methods.lwf`). A step costs a forward pass more. Where methods
  before it in the chain have changed the gradient, theirs is kept, and the learner's loss is taken
  out of it: a backward pass more. Methods that look at the gradient of the task (`si`, `rwalk`) see
  that of the learner's loss, cross-entropy.

  Args:
    spec: the stream.
    capacity: M: exemplars for each pair of task and class, or in total; each pair seen has
      `M // pairs seen` of them. 0: the method does nothing.
    per: `"class"` or `"total"`.
    selection: which examples become exemplars: `"first"`, `"random"` or `"herding"`; see
      `tagjax.memory.class_quota.update`.
    classifier: `"nearest_mean"`, or `"head"`: the largest logit.
    strength: weight of the distillation, at least 0.

  Returns:
    The method; its state is an `IcarlState`, or `()` if `capacity` is 0. Herding and the nearest
    mean require `features` of the model.

  Raises:
    ValueError: if an argument is out of range, or M is less than the number of pairs.

  >>> from tagjax.core.chain import chain
  >>> spec = StreamSpec(2, 4, np.eye(2, dtype=bool).repeat(2, axis=1), "class", (4, 4, 1))
  >>> method = chain(icarl(spec, capacity=20, per="total"), optax.sgd(0.1))
  >>> method.init({})[0].memory.exemplars.image.shape
  (20, 4, 4, 1)

  References:
    Rebuffi, Kolesnikov, Sperl, Lampert. iCaRL: Incremental Classifier and Representation Learning.
    CVPR 2017.

  Differs from the reference code: the loss is the paper's, a sum over the outputs seen so far
  (there the mean over all outputs of the head, those to come included, hence its learning rate of
  2); the teacher runs in training mode; means are of the exemplars as they are, not also of their
  mirror images; herding never takes an example twice.
  """
  class_quota.check_selection(selection)
  check_choice("classifier", classifier, ("nearest_mean", "head"))
  quadratic.check(strength)
  size = class_quota.total(spec, capacity, per, needed_by="icarl")
  if size == 0:
    return identity()
  by_mean = classifier == "nearest_mean"

  def init(params) -> IcarlState:
    return IcarlState(class_quota.empty(spec, size), quadratic.copy(params))

  def update(updates, state: IcarlState, params, *, at: Step):
    target = _old_answers(state, at)
    kept = _kept_outputs(spec, at.task_id)
    count = losses.mean_count(at)

    def loss_fn(logits, batch: Batch):
      values = sigmoid_loss(logits, batch.label, target, kept, at.active_fn(batch), strength)
      return losses.masked_mean(values, batch.mask, count)

    return rehearsing.exchange_loss(updates, params, at.batch, loss_fn, at=at), state

  def consolidate(state: IcarlState, variables, *, at: Boundary):
    assert at.chunk is not None, "a task has ended"
    features = None
    if selection == "herding":
      features = rehearsing.chunk_features(at.apply_fn, variables, at.chunk)
    memory = class_quota.update(state.memory, at.chunk, selection=selection, features=features)
    return IcarlState(memory, quadratic.copy(variables["params"])), variables

  def rehearsal(state: IcarlState) -> Batch:
    return state.memory.exemplars

  def prepare(state: IcarlState, variables, *, at: Boundary) -> Means:
    exemplars = state.memory.exemplars
    features = rehearsing.of_exemplars(at.apply_fn, variables, exemplars, features=True)
    return Means(variables, *class_means(features, exemplars, spec.num_outputs))

  def predict(served: Means, *, at: Query) -> chex.Array:
    features, _ = at.apply_fn(served.variables, at.batch, features=True)
    logits, _ = at.apply_fn(served.variables, at.batch)  # XLA shares all layers below the head
    has_ended = jnp.any(served.is_known & jnp.asarray(spec.classes)[at.current_task])
    return jnp.where(has_ended, nearest_mean(features, served), logits)

  method = Method(init, update, consolidate, rehearsal=rehearsal)
  if by_mean or selection == "herding":
    method = method._replace(requires=frozenset({"features"}))
  return method._replace(prepare=prepare, predict=predict) if by_mean else method


def _old_answers(state: IcarlState, at: Step) -> chex.Array:
  """The old network's sigmoids, float `[B, K]`; zeros in the first task."""

  def ask(teacher):
    old = {**at.variables, "params": teacher}
    logits, _ = at.apply_fn(old, at.batch, key=at.key, train=True)
    return jax.nn.sigmoid(logits)

  def nothing(teacher):
    del teacher
    return jnp.zeros_like(at.logits)

  return jax.lax.cond(at.task_id > 0, ask, nothing, state.teacher)


def _kept_outputs(spec: StreamSpec, task_id: chex.Array) -> chex.Array:
  """Bool `[K]`: the outputs that earlier tasks taught and this one does not."""
  classes = np.asarray(spec.classes, bool)
  seen = np.logical_or.accumulate(classes, axis=0)
  return jnp.asarray(seen & ~classes)[task_id]


def sigmoid_loss(
  logits: chex.Array,
  label: chex.Array,
  target: chex.Array,
  kept: chex.Array,
  active: chex.Array,
  strength: chex.Numeric,
) -> chex.Array:
  """The loss of each example, see `icarl`.

  Args:
    logits: float `[B, K]`.
    label: int32 `[B]`.
    target: float `[B, K]`, the old network's sigmoids.
    kept: bool `[K]`, the outputs that are held to them; the others are held to the label.
    active: bool `[B, K]`, the outputs that enter.
    strength: weight of the kept outputs.

  Returns:
    float `[B]`, in nats.
  """
  is_label = jax.nn.one_hot(label, logits.shape[1], dtype=logits.dtype)
  values = optax.sigmoid_binary_cross_entropy(logits, jnp.where(kept, target, is_label))
  values = jnp.where(kept, strength * values, values)
  return jnp.sum(jnp.where(active, values, 0), axis=-1)


def class_means(
  features: chex.Array, exemplars: Batch, num_outputs: int
) -> tuple[chex.Array, chex.Array]:
  """Mean of the normalised features of each class, normalised: float32 `[K, d]`; and bool `[K]`.

  Args:
    features: float `[M, d]`, of the exemplars.
    exemplars: `Batch` `[M, ...]`; rows whose mask is False do not count.
    num_outputs: K.
  """
  rows = herding.normalized(features)
  place = jnp.where(exemplars.mask, exemplars.label, num_outputs)
  total = jnp.zeros((num_outputs, rows.shape[1])).at[place].add(rows, mode="drop")
  is_known = jnp.zeros(num_outputs, bool).at[place].set(True, mode="drop")
  return herding.normalized(total), is_known


def nearest_mean(features: chex.Array, means: Means) -> chex.Array:
  """`-|f - m_k|²` with f the normalised features, float32 `[B, K]`; unknown classes are masked."""
  rows = herding.normalized(features)
  product = jnp.matmul(rows, means.mean.T, precision=jax.lax.Precision.HIGHEST)
  of_rows = jnp.sum(jnp.square(rows), axis=-1, keepdims=True)
  of_means = jnp.sum(jnp.square(means.mean), axis=-1)[None, :]
  return losses.mask_logits(2 * product - of_rows - of_means, means.is_known)
