"""Model + method + loss -> pure functions: the training step and what surrounds it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core import losses, register
from tagjax.core.keys import run_keys, step_keys
from tagjax.core.method import (
  Boundary,
  EpochStep,
  GradFn,
  Method,
  OnceFn,
  Phase,
  Query,
  Served,
  State,
  Step,
  check_phases,
  consolidates,
  has_outcome,
  num_boundary_examples,
  predicts,
  prepares,
  rehearses,
  reserves,
)
from tagjax.core.sharing import ROUTING, SEARCHED
from tagjax.core.types import Batch, Hyper, StreamSpec, Variables
from tagjax.engine import growth
from tagjax.engine.model import call_names, model_name, variable_shapes
from tagjax.engine.model_fns import ModelFns, make_model_fns
from tagjax.input_pipeline.augmentation import Augmentation


class LearnerState(NamedTuple):
  """All that a learner carries through the stream; donated to every compiled step.

  Attributes:
    variables: the model's variables.
    method: the method's state.
    key: typed random key of the run; never changed, folded with `step`.
    step: int32 scalar, training steps taken since the start of the stream.
    hyper: hyperparameters that differ between runs of the same programs, such as the points of a
      grid; never changed. Those that do not differ are constants of the programs.
    kept: variables of an earlier step, to which the run may go back (those of the best epoch); None
      if it does not.
  """

  variables: Variables
  method: State
  key: chex.PRNGKey
  step: chex.Array
  hyper: Hyper
  kept: Variables | None = None


class ServedState(NamedTuple):
  """What evaluations need of a learner's state; read only.

  Attributes:
    served: what `Method.prepare` gives; the model's variables by default.
    key: as in `LearnerState`.
    step: as in `LearnerState`.
    hyper: as in `LearnerState`.
    variables: the model's, where evaluations compare with the model itself and `served` is
      something else; else None.
  """

  served: Served
  key: chex.PRNGKey
  step: chex.Array
  hyper: Hyper
  variables: Variables | None = None


class StepInfo(NamedTuple):
  """What one training step reports.

  Attributes:
    loss: float32 scalar.
    accuracy: float32 scalar, fraction of the batch predicted right before the update.
    diagnostics: see `Method.diagnose`.
    monitored: see `Method.monitor`.
  """

  loss: chex.Array
  accuracy: chex.Array
  diagnostics: dict[str, chex.Array]
  monitored: dict[str, chex.Array]


class Learner(NamedTuple):
  """Model, method and loss as pure functions; built by `make_learner`.

  Attributes:
    init: `(key, hyper) -> LearnerState`; None or `{}`: all hyperparameters are constants.
    step: `(state, batch, task_id, *, phase, keys, epoch_step) -> (state, StepInfo)`; `keys` are
      those of `tagjax.core.keys.step_keys`, None: they are drawn here; `epoch_step` as in `Step`.
    consolidate: `(state, chunk, task_id, *, phase) -> state`.
    rehearsal: `state -> Batch | None`, see `Method`.
    prepare: `(state, current_task) -> ServedState`; `current_task` is the last task learned.
    predict: `(served, batch, current_task, *, continuum, once) -> logits`, float `[B, K]`,
      unmasked; the batch is what the method sees as `Query.batch`, see `tagjax.engine.evaluate`;
      `once` as in `Query`, None: nothing is kept for other calls.
    plain: `(served, batch) -> logits`, float `[B, K]`, unmasked, of the model itself, whatever the
      method makes of them.
    diagnose: `state -> {name: array}`, see `Method`.
    monitor: `state -> {name: array}`, see `Method`.
    usage: `(state, used, tasks, task_id) -> tagjax.engine.growth.Usage`: what is in use of the
      parameters when `tasks`, bool `[T]`, have begun, `task_id` the last of them; `used` as
      `tagjax.engine.growth.rows_begun` gives it.
    spec: static, of the stream.
    phases: static, see `Method`.
    num_boundary_examples: static, see `Method`; how many the chunk of `consolidate` should have.
    consolidates: static, whether `consolidate` changes anything.
    rehearses: static, whether `rehearsal` gives exemplars.
    prepares: static, whether `prepare` gives anything but the state's variables.
    predicts: static, whether `predict` gives anything but logits of the model, see `Method`.
    reserves: static, whether `usage` gives anything but `used` itself.
  """

  init: Callable[..., LearnerState]
  step: Callable[..., tuple[LearnerState, StepInfo]]
  consolidate: Callable[..., LearnerState]
  rehearsal: Callable[[LearnerState], Batch | None]
  prepare: Callable[..., ServedState]
  predict: Callable[..., chex.Array]
  plain: Callable[[ServedState, Batch], chex.Array]
  diagnose: Callable[[LearnerState], dict[str, chex.Array]]
  monitor: Callable[[LearnerState], dict[str, chex.Array]]
  usage: Callable[..., growth.Usage]
  spec: StreamSpec
  phases: tuple[Phase, ...]
  num_boundary_examples: int | None
  consolidates: bool
  rehearses: bool
  prepares: bool
  predicts: bool
  reserves: bool


def make_learner(
  model: Any,
  method: Method | Callable[[Hyper], Method],
  spec: StreamSpec,
  *,
  max_value: float = 255.0,
  normalization: str = "unit",
  augmentation: Augmentation | None = None,
  axis_name: str | None = None,
  pretrained: Variables | None = None,
  keeps: bool = False,
  mean_image: np.ndarray | None = None,
) -> Learner:
  """Joins a model and a method into the pure functions that the loop compiles.

  Args:
    model: whatever `tagjax.engine.model.as_model` takes; gives logits `[B, K]`.
    method: see `tagjax.core.method.Method`; or a function that makes it of a state's
      hyperparameters, which are traced then. It is also called with `{}`, for what is static of the
      method.
    spec: the stream's head and shapes.
    max_value: largest stored pixel value.
    normalization: a key of `tagjax.input_pipeline.normalization.NORMALIZATIONS`.
    augmentation: of the images of training passes; None: they are left as they are.
    axis_name: name of the device axis that the step is mapped over; None on one device. The
      gradient is averaged over it, weighted by each device's number of valid examples. A model
      with a field `axis_name` is told.
    pretrained: arrays that take the place of those that the model would start with, at their places
      in its variables; whatever is not in it (a new head) starts at random. None: all does.
    keeps: whether its state has room for variables to go back to, `LearnerState.kept`.
    mean_image: the mean of the training images, for the normalization of that name.

  Returns:
    The learner. `step` keeps shapes and dtypes, so it can be the body of a compiled loop.

  Raises:
    ValueError: if normalization or augmentation do not fit the stream's images, the method has no
      phases, or requires what the model does not have.
  """
  fns = make_model_fns(
    model,
    spec,
    max_value=max_value,
    normalization=normalization,
    augmentation=Augmentation() if augmentation is None else augmentation,
    axis_name=axis_name,
    pretrained=pretrained,
    mean_image=mean_image,
  )
  method_of = (lambda hyper: method) if isinstance(method, Method) else method
  static = method_of({})
  check_phases(static)
  _check_required(static, model, spec)
  of_model = growth.of_model(model)
  parts = _Parts(fns, method_of, spec, static.phases[-1].name, keeps, of_model)

  def bound(function):
    return functools.partial(function, parts)

  return Learner(
    init=bound(_init),
    step=bound(_step),
    consolidate=bound(_consolidate),
    rehearsal=bound(_rehearsal),
    prepare=bound(_prepare),
    predict=bound(_predict),
    plain=bound(_plain),
    diagnose=bound(_diagnose),
    monitor=bound(_monitor),
    usage=bound(_usage),
    spec=spec,
    phases=static.phases,
    num_boundary_examples=num_boundary_examples(static),
    consolidates=consolidates(static),
    rehearses=rehearses(static),
    prepares=prepares(static),
    predicts=predicts(static),
    reserves=of_model is not None or reserves(static) or has_outcome(static),
  )


def _check_required(method: Method, model: Any, spec: StreamSpec) -> None:
  """Refuses a model without the arguments and variables that the method relies on."""
  missing = method.requires - call_names(model)
  if not missing:
    return
  if missing := sorted(missing - set(variable_shapes(model, spec))):
    names = ", ".join(map(repr, missing))
    raise ValueError(
      f"the method{f' {method.name}' if method.name else ''} requires {names} of the model, and "
      f"{model_name(model)} does not have it: give it an argument of __call__ or a collection of "
      f"variables of that name (docs/add_a_model.md){_models_with(missing)}"
    )


def _models_with(names: Sequence[str]) -> str:
  """As another way out, declared models whose calls or variables have these."""
  if ROUTING in names:
    way_out = f"a network whose layers are searched, sharing={SEARCHED!r}"
    return f", or choose {way_out} (docs/lifelong_architectures.md)"
  found = [
    name
    for name, declaration in sorted(register.declared("model").items())
    if (call_names(declaration.make) | declaration.collections).issuperset(names)
  ]
  return f", or choose one of {', '.join(found)}" if found else ""


class _Parts(NamedTuple):
  """What a learner's functions are made of."""

  fns: ModelFns
  method_of: Callable[[Hyper], Method]
  spec: StreamSpec
  last_phase: str
  keeps: bool
  parameters_in_use: Callable[..., Any] | None


def _init(parts: _Parts, key: chex.PRNGKey, hyper: Hyper | None = None) -> LearnerState:
  hyper = {} if hyper is None else hyper
  variables = parts.fns.init(run_keys(key).init)
  return LearnerState(
    variables=variables,
    method=parts.method_of(hyper).init(variables["params"]),
    key=key,
    step=jnp.zeros((), jnp.int32),
    hyper=hyper,
    kept=jax.tree.map(jnp.copy, variables) if parts.keeps else None,
  )


def _step(
  parts: _Parts,
  state: LearnerState,
  batch: Batch,
  task_id: chex.Array,
  *,
  phase: str,
  keys: tuple[chex.PRNGKey, chex.PRNGKey] | None = None,
  epoch_step: EpochStep | None = None,
) -> tuple[LearnerState, StepInfo]:
  method = parts.method_of(state.hyper)
  forward_key, method_key = step_keys(state.key, state.step) if keys is None else keys
  loss_fn = functools.partial(_task_loss, parts, task_id)
  (loss, (logits, variables)), grad = parts.fns.value_and_grad(
    state.variables, batch, key=forward_key, train=True, loss_fn=loss_fn
  )
  at = Step(
    task_id=task_id,
    batch=batch,
    loss=loss,
    grad=grad,
    logits=logits,
    variables={**variables, "params": state.variables["params"]},
    grad_fn=_make_grad_fn(parts, state.variables, task_id, method_key, train=True),
    apply_fn=parts.fns.apply,
    active_fn=functools.partial(_active_outputs, parts, task_id),
    gather=parts.fns.gather,
    key=method_key,
    phase=phase,
    epoch_step=epoch_step,
    before={name: value for name, value in state.variables.items() if name != "params"},
  )
  params = state.variables["params"]
  updates, method_state, *moved = method.update(grad, state.method, params, at=at)
  new_params = optax.apply_updates(params, updates)
  variables = {**variables, **(moved[0] if moved else {}), "params": new_params}
  info = StepInfo(
    loss=loss,
    accuracy=_accuracy(parts, logits, batch, task_id),
    diagnostics=method.diagnose(method_state),
    monitored=method.monitor(method_state),
  )
  return state._replace(variables=variables, method=method_state, step=state.step + 1), info


def _consolidate(
  parts: _Parts, state: LearnerState, chunk: Batch, task_id: chex.Array, *, phase: str
) -> LearnerState:
  key = jax.random.fold_in(run_keys(state.key).boundaries, state.step)
  at = _make_boundary(parts, state.variables, chunk, task_id, key, phase)
  method = parts.method_of(state.hyper)
  method_state, variables = method.consolidate(state.method, state.variables, at=at)
  return state._replace(variables=variables, method=method_state)


def _rehearsal(parts: _Parts, state: LearnerState) -> Batch | None:
  return parts.method_of(state.hyper).rehearsal(state.method)


def _prepare(parts: _Parts, state: LearnerState, current_task: chex.Array) -> ServedState:
  key, _ = _evaluation_keys(state)
  at = _make_boundary(parts, state.variables, None, current_task, key, parts.last_phase)
  served = parts.method_of(state.hyper).prepare(state.method, state.variables, at=at)
  return serve(state)._replace(served=served)


def serve(state: LearnerState) -> ServedState:
  """What `Learner.prepare` gives where the method does not prepare: nothing is computed."""
  return ServedState(state.variables, state.key, state.step, state.hyper)


def _predict(
  parts: _Parts,
  served: ServedState,
  batch: Batch,
  current_task: chex.Array,
  *,
  continuum: int = 1,
  once: OnceFn | None = None,
) -> chex.Array:
  _, key = _evaluation_keys(served)
  at = Query(
    batch=batch,
    current_task=current_task,
    apply_fn=parts.fns.apply,
    active_fn=functools.partial(_active_outputs, parts, current_task),
    key=key,
    continuum=continuum,
  )
  at = at if once is None else at._replace(once=once)
  logits = parts.method_of(served.hyper).predict(served.served, at=at)
  expected = (batch.mask.shape[0], parts.spec.num_outputs)
  if jnp.shape(logits) != expected:
    raise ValueError(f"predict gives {jnp.shape(logits)}, and must give logits [B, K], {expected}")
  return logits


def _plain(parts: _Parts, served: ServedState, batch: Batch) -> chex.Array:
  variables = served.served if served.variables is None else served.variables
  logits, _ = parts.fns.apply(variables, batch)
  return logits


def _diagnose(parts: _Parts, state: LearnerState) -> dict[str, chex.Array]:
  return parts.method_of(state.hyper).diagnose(state.method)


def _monitor(parts: _Parts, state: LearnerState) -> dict[str, chex.Array]:
  return parts.method_of(state.hyper).monitor(state.method)


def _usage(
  parts: _Parts, state: LearnerState, used: Any, tasks: chex.Array, task_id: chex.Array
) -> growth.Usage:
  method, params = parts.method_of(state.hyper), state.variables["params"]
  if parts.parameters_in_use is not None:
    used = parts.parameters_in_use(state.variables, used, tasks)
  used = method.in_use(state.method, params, used)
  return growth.Usage(growth.counts(used, params), method.outcome(state.method, task_id))


def _evaluation_keys(state: LearnerState | ServedState) -> tuple[chex.PRNGKey, chex.PRNGKey]:
  """For preparing and for predicting."""
  prepare, predict = jax.random.split(
    jax.random.fold_in(run_keys(state.key).evaluations, state.step)
  )
  return prepare, predict


def _active_outputs(parts: _Parts, current_task: chex.Array, batch: Batch) -> chex.Array:
  return losses.active_outputs(parts.spec, batch.task_id, current_task)


def _task_loss(
  parts: _Parts, current_task: chex.Array, logits: chex.Array, batch: Batch
) -> chex.Array:
  """Mean cross-entropy of the valid rows of all devices, see `losses.masked_mean`."""
  active = _active_outputs(parts, current_task, batch)
  values = losses.cross_entropy(logits, batch.label, active)
  return losses.masked_mean(values, batch.mask, _mean_count(parts, batch))


def _accuracy(parts: _Parts, logits: chex.Array, batch: Batch, task_id: chex.Array) -> chex.Array:
  """Fraction of the valid rows of all devices that are predicted right."""
  masked = losses.mask_logits(logits, _active_outputs(parts, task_id, batch))
  hits = jnp.argmax(masked, axis=-1) == batch.label
  count = _mean_count(parts, batch)
  return parts.fns.average(losses.masked_mean(hits.astype(jnp.float32), batch.mask, count))


def _mean_count(parts: _Parts, batch: Batch) -> chex.Array:
  """Valid examples a device."""
  return parts.fns.average(jnp.sum(batch.mask, dtype=jnp.float32))


def _make_grad_fn(
  parts: _Parts, variables: Variables, current_task: chex.Array, key: chex.PRNGKey, *, train: bool
) -> GradFn:
  """The `GradFn` that has these variables, key and mode by default."""
  default_key, default_train = key, train
  default_loss = functools.partial(_task_loss, parts, current_task)
  own_variables = variables

  def grad_fn(params, batch, *, variables=None, loss_fn=None, key=None, train=None):
    (loss, _), grad = parts.fns.value_and_grad(
      {**own_variables, **(variables or {}), "params": params},
      batch,
      key=default_key if key is None else key,
      train=default_train if train is None else train,
      loss_fn=loss_fn or default_loss,
    )
    return loss, grad

  return grad_fn


def _make_boundary(
  parts: _Parts,
  variables: Variables,
  chunk: Batch | None,
  task_id: chex.Array,
  key: chex.PRNGKey,
  phase: str,
) -> Boundary:
  return Boundary(
    task_id=task_id,
    chunk=chunk,
    grad_fn=_make_grad_fn(parts, variables, task_id, key, train=False),
    apply_fn=parts.fns.apply,
    active_fn=functools.partial(_active_outputs, parts, task_id),
    key=key,
    phase=phase,
  )
