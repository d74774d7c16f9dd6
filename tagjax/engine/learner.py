"""Model + method + loss -> pure functions: the training step and what surrounds it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from tagjax.core import losses
from tagjax.core.keys import run_keys
from tagjax.core.method import Boundary, Method, State, Step, boundary_examples
from tagjax.core.types import Batch, Hyper, StreamSpec, Variables
from tagjax.engine.model import as_model, initial_variables
from tagjax.input_pipeline.augmentation import Augmentation, augment
from tagjax.input_pipeline.normalization import normalizer

_OF_IMAGES = 1  # folded into a pass's key for its images, so that dropout draws as without them


class LearnerState(NamedTuple):
  """All that a learner carries through the stream; donated to every compiled step.

  Attributes:
    variables: the model's variables.
    method: the method's state.
    key: typed random key of the run; never changed, folded with `step`.
    step: int32 scalar, training steps taken since the start of the stream.
    hyper: hyperparameters that differ between runs of the same programs, such as the points of a
      grid; never changed. Those that do not differ are constants of the programs.
  """

  variables: Variables
  method: State
  key: chex.PRNGKey
  step: chex.Array
  hyper: Hyper


class StepInfo(NamedTuple):
  """What one training step reports.

  Attributes:
    loss: float32 scalar.
    accuracy: float32 scalar, fraction of the batch predicted right before the update.
    diagnostics: see `Method.diagnose`.
  """

  loss: chex.Array
  accuracy: chex.Array
  diagnostics: dict[str, chex.Array]


class Learner(NamedTuple):
  """Model, method and loss as pure functions; built by `tagjax.engine.learner.make_learner`.

  Attributes:
    init: `(key, hyper) -> LearnerState`; None or `{}`: all hyperparameters are constants.
    step: `(state, batch, task_id, *, phase) -> (state, StepInfo)`.
    consolidate: `(state, chunk, task_id, *, phase) -> state`.
    adapt: `(state, task_id) -> variables` for the evaluation of that task.
    predict: `(variables, batch, current_task) -> (logits, loss)`: masked logits `[B, K]` and
      per-example losses `[B]`; `current_task` is the last task learned.
    diagnose: `state -> {name: array}`, see `Method`.
    phases: static, see `Method`.
    examples: static, see `Method`; how many examples the chunk of `consolidate` should have.
  """

  init: Callable[..., LearnerState]
  step: Callable[..., tuple[LearnerState, StepInfo]]
  consolidate: Callable[..., LearnerState]
  adapt: Callable[..., Variables]
  predict: Callable[..., tuple[chex.Array, chex.Array]]
  diagnose: Callable[[LearnerState], dict[str, chex.Array]]
  phases: tuple[str, ...]
  examples: int | None


def make_learner(
  model: Any,
  method: Method | Callable[[Hyper], Method],
  spec: StreamSpec,
  *,
  max_value: float = 255.0,
  normalization: str = "unit",
  augmentation: Augmentation = Augmentation(),  # noqa: B008  (it is immutable)
  axis_name: str | None = None,
  pretrained: Variables | None = None,
) -> Learner:
  """Joins a model and a method into the pure functions that the loop compiles.

  Args:
    model: whatever `tagjax.engine.model.as_model` takes; gives logits `[B, K]`.
    method: see `tagjax.core.method.Method`; or a function that makes it of a state's
      hyperparameters, which are traced then. It is also called with `{}`, for the method's static
      phases.
    spec: the stream's head and shapes.
    max_value: largest stored pixel value.
    normalization: a key of `tagjax.input_pipeline.normalization.NORMALIZATIONS`.
    augmentation: of the images of training passes.
    axis_name: name of the device axis that the step is mapped over; None on one device. The
      gradient is averaged over it, weighted by each device's number of valid examples. A model
      with a field `axis_name` is told.
    pretrained: arrays that take the place of those that the model would start with, at their places
      in its variables; whatever is not in it (a new head) starts at random. None: all does.

  Returns:
    The learner. `step` keeps shapes and dtypes, so it can be the body of a compiled loop.

  Raises:
    ValueError: if `normalization` is unknown, or for images of another number of channels.
  """
  normalize = normalizer(normalization, max_value, spec.image_shape)
  model = as_model(model, spec, axis_name=axis_name)
  method_of = (lambda hyper: method) if isinstance(method, Method) else method
  static = method_of({})
  phases = static.phases
  average, gather = _collectives(axis_name)

  def apply(variables: Variables, batch: Batch, *, key=None, train=False):
    key = None if key is None else _device_key(key, axis_name)
    image = batch.image
    if augmentation and train and key is not None:
      image = augment(jax.random.fold_in(key, _OF_IMAGES), image, augmentation, max_value)
    return model.apply(
      variables,
      normalize(image),
      task_id=batch.task_id,
      mask=batch.mask,
      train=train,
      key=key,
    )

  def active_fn(current_task, batch):
    return losses.active_outputs(spec, batch.task_id, current_task)

  def task_loss(current_task, logits, batch):
    values = losses.cross_entropy(logits, batch.label, active_fn(current_task, batch))
    return losses.masked_mean(values, batch.mask, average(jnp.sum(batch.mask, dtype=jnp.float32)))

  def value_and_grad(variables, batch, *, key, train, loss_fn):
    """`((loss, (logits, variables)), grad)`; the gradient and loss averaged over devices."""

    def objective(params):
      logits, changed = apply({**variables, "params": params}, batch, key=key, train=train)
      return loss_fn(logits, batch), (logits, changed)

    (loss, aux), grad = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    loss, grad = average((loss, grad))
    return (loss, aux), grad

  def make_grad_fn(variables, current_task, default_key, default_train):
    default_loss = functools.partial(task_loss, current_task)

    def grad_fn(params, batch, *, key=None, loss_fn=None, train=None):
      (loss, _), grad = value_and_grad(
        {**variables, "params": params},
        batch,
        key=default_key if key is None else key,
        train=default_train if train is None else train,
        loss_fn=loss_fn or default_loss,
      )
      return loss, grad

    return grad_fn

  def boundary(variables, chunk, task_id, key, phase) -> Boundary:
    return Boundary(
      task_id=task_id,
      chunk=chunk,
      grad_fn=make_grad_fn(variables, task_id, key, default_train=False),
      apply_fn=apply,
      active_fn=functools.partial(active_fn, task_id),
      key=key,
      phase=phase,
    )

  def init(key: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
    hyper = {} if hyper is None else hyper
    variables = initial_variables(model, spec, run_keys(key).init)
    variables = variables if pretrained is None else _overlaid(variables, pretrained)
    return LearnerState(
      variables=variables,
      method=method_of(hyper).init(variables["params"]),
      key=key,
      step=jnp.zeros((), jnp.int32),
      hyper=hyper,
    )

  def step(state: LearnerState, batch: Batch, task_id: chex.Array, *, phase: str):
    method = method_of(state.hyper)
    step_key = jax.random.fold_in(run_keys(state.key).steps, state.step)
    forward_key, method_key = jax.random.split(step_key)
    loss_fn = functools.partial(task_loss, task_id)
    (loss, (logits, variables)), grad = value_and_grad(
      state.variables, batch, key=forward_key, train=True, loss_fn=loss_fn
    )
    at = Step(
      task_id=task_id,
      batch=batch,
      loss=loss,
      grad=grad,
      logits=logits,
      variables=state.variables,
      grad_fn=make_grad_fn(state.variables, task_id, method_key, default_train=True),
      apply_fn=apply,
      active_fn=functools.partial(active_fn, task_id),
      gather=gather,
      key=method_key,
      phase=phase,
    )
    params = state.variables["params"]
    updates, method_state = method.update(grad, state.method, params, at=at)
    variables = {**variables, "params": optax.apply_updates(params, updates)}
    hits = _hits(logits, batch, active_fn(task_id, batch))
    count = average(jnp.sum(batch.mask, dtype=jnp.float32))
    info = StepInfo(
      loss=loss,
      accuracy=average(losses.masked_mean(hits.astype(jnp.float32), batch.mask, count)),
      diagnostics=method.diagnose(method_state),
    )
    return state._replace(variables=variables, method=method_state, step=state.step + 1), info

  def consolidate(state: LearnerState, chunk: Batch, task_id: chex.Array, *, phase: str):
    key = jax.random.fold_in(run_keys(state.key).boundaries, state.step)
    at = boundary(state.variables, chunk, task_id, key, phase)
    method = method_of(state.hyper)
    method_state, variables = method.consolidate(state.method, state.variables, at=at)
    return state._replace(variables=variables, method=method_state)

  def adapt(state: LearnerState, task_id: chex.Array) -> Variables:
    key = jax.random.fold_in(run_keys(state.key).boundaries, task_id)
    at = boundary(state.variables, None, task_id, key, phases[-1])
    return method_of(state.hyper).adapt(state.method, state.variables, at=at)

  def predict(variables: Variables, batch: Batch, current_task: chex.Array):
    logits, _ = apply(variables, batch, train=False)
    active = active_fn(current_task, batch)
    return (
      losses.mask_logits(logits, active),
      losses.cross_entropy(logits, batch.label, active),
    )

  def diagnose(state: LearnerState) -> dict[str, chex.Array]:
    return method_of(state.hyper).diagnose(state.method)

  examples = boundary_examples(static)
  return Learner(init, step, consolidate, adapt, predict, diagnose, phases, examples)


def _collectives(axis_name: str | None) -> tuple[Callable, Callable]:
  """`(average over devices, gather a batch from all devices)`; identities on one device."""
  if axis_name is None:
    return lambda tree: tree, lambda batch: batch
  return (
    functools.partial(jax.lax.pmean, axis_name=axis_name),
    functools.partial(jax.lax.all_gather, axis_name=axis_name, tiled=True),
  )


def _device_key(key: chex.PRNGKey, axis_name: str | None) -> chex.PRNGKey:
  """Draws must differ between devices, or the examples of two devices share their masks."""
  return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def _overlaid(variables: Variables, pretrained: Variables) -> Variables:
  """`variables` with the arrays of `pretrained` in their places."""
  flatten = flax.traverse_util.flatten_dict
  arrays = jax.tree.map(jnp.asarray, flatten(pretrained))
  return flax.traverse_util.unflatten_dict(flatten(variables) | arrays)


def _hits(logits: chex.Array, batch: Batch, active: chex.Array) -> chex.Array:
  """Bool `[B]`: which examples are predicted right."""
  return jnp.argmax(losses.mask_logits(logits, active), axis=-1) == batch.label
