"""The one abstraction: what a continual learning method is, and what it is told.

A continual learning method is a `Method`: an Optax transformation that may look at the batch, may
ask for the gradient somewhere else, is told when a task ends, and may have its own way to predict.
Methods are pure functions over explicit state; `lift` makes one of any Optax transformation, and
`tagjax.chain` composes them.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.types import Batch, Variables


class GradFn(Protocol):
  """Loss and gradient of the model at `params` on `batch`, averaged over all devices.

  The model's other variables (BatchNorm's running averages) are those of the moment and are left
  alone; collections in `variables` take their places, so that a gradient can be taken under another
  routing. `loss_fn(logits, batch) -> scalar` replaces the learner's loss; it gets unmasked logits.
  `train` chooses training mode (batch statistics, dropout drawn from `key`) or evaluation mode.
  """

  def __call__(
    self,
    params: chex.ArrayTree,
    batch: Batch,
    *,
    variables: Variables | None = None,
    loss_fn: Callable[[chex.Array, Batch], chex.Array] | None = None,
    key: chex.PRNGKey | None = None,
    train: bool | None = None,
  ) -> tuple[chex.Array, chex.ArrayTree]: ...


class ApplyFn(Protocol):
  """Unmasked logits `[B, K]` of the model on `batch`, and its other variables after the pass.

  With `features=True` the features `[B, d]` that the model's head turns into logits, in their
  place: for methods that say `requires=frozenset({"features"})`.
  """

  def __call__(
    self,
    variables: Variables,
    batch: Batch,
    *,
    key: chex.PRNGKey | None = None,
    train: bool = False,
    features: bool = False,
  ) -> tuple[chex.Array, Variables]: ...


class ActiveFn(Protocol):
  """Bool `[B, K]`: the outputs that compete for each example of `batch` in its softmax.

  Whatever looks at logits must look at these only: the others belong to tasks that the example is
  not of, or that have not begun.
  """

  def __call__(self, batch: Batch) -> chex.Array: ...


class Phase(NamedTuple):
  """One of the training passes of a task.

  Attributes:
    name: what `Step.phase` and `Boundary.phase` say in it.
    epochs: how many it has; None: as many as the run has for each task.
  """

  name: str
  epochs: int | None = None


class EpochStep(NamedTuple):
  """Where in the training of the stream a step stands, as the loop counts; traced int32 scalars.

  Whoever counts calls of `update` instead counts wrong as soon as a method makes several of them a
  step (inner steps), or rehearses exemplars: an epoch has more steps then.

  Attributes:
    task_id: the task being learned, also within an inner loop over tasks.
    visit: stays at tasks that have ended; the task's id if each is learned once, in order.
    task_epoch: epochs of this stay that have ended, those of the task's earlier phases included.
    epoch: epochs of this phase that have ended.
    step: steps of this epoch before this one.
    num_steps: steps of this epoch, exemplars that are rehearsed included; the same in all epochs of
      a stay.
  """

  task_id: chex.Array
  visit: chex.Array
  task_epoch: chex.Array
  epoch: chex.Array
  step: chex.Array
  num_steps: chex.Array


class Step(NamedTuple):
  """What a method may look at in one training step.

  Attributes:
    task_id: traced int32 scalar, the task being learned.
    batch: the current batch (this device's share of it).
    loss: scalar, the loss of the batch, averaged over devices.
    grad: the gradient of that loss, before any method has changed it.
    logits: float `[B, K]`, unmasked, of the forward pass that gave `loss`.
    variables: the model's variables: the parameters at the start of the step, other collections
      (running averages) as the forward pass that gave `loss` has left them.
    grad_fn: see `GradFn`; training mode by default.
    apply_fn: see `ApplyFn`.
    active_fn: see `ActiveFn`.
    gather: batch of this device -> batch of all devices, the same on every device. What goes into
      a memory must go through it, else the replicas' memories drift apart.
    key: the method's own random key for this step.
    phase: static name of the training phase.
    epoch_step: which step of which epoch it is; None in a loop that does not tell.
    before: the model's collections besides "params" as they were before that forward pass, for a
      method that puts running averages back; None in a loop that does not tell.
    inner_task: traced int32 scalar, inside of an inner loop over tasks (see `tagjax.methods.itaml`)
      the task that all examples of `batch` are of; `task_id` stays the task being learned. None:
      there is no inner loop.
  """

  task_id: chex.Array
  batch: Batch
  loss: chex.Array
  grad: chex.ArrayTree
  logits: chex.Array
  variables: Variables
  grad_fn: GradFn
  apply_fn: ApplyFn
  active_fn: ActiveFn
  gather: Callable[[Any], Any]
  key: chex.PRNGKey
  phase: str
  epoch_step: EpochStep | None = None
  before: Variables | None = None
  inner_task: chex.Array | None = None

  @property
  def epoch(self) -> chex.Array | None:
    """Epochs of this phase that have ended, traced int32; None in a loop that does not tell."""
    return None if self.epoch_step is None else self.epoch_step.epoch


class Boundary(NamedTuple):
  """What a method may look at when a task (a phase of it) ends, or before an evaluation.

  Attributes:
    task_id: traced int32 scalar, the task just learned; before an evaluation the last one learned.
    chunk: `Batch` with leading axes `[N, B]`: training examples of the task just learned, as many
      as `Method.num_boundary_examples` asks for, in shuffled order, without augmentation, the same
      on every device; None in `prepare`. Rows that only fill up stand at the end.
    grad_fn: see `GradFn`; evaluation mode by default.
    apply_fn: see `ApplyFn`.
    active_fn: see `ActiveFn`.
    key: the method's own random key for this boundary.
    phase: static name of the phase that ended.
  """

  task_id: chex.Array
  chunk: Batch | None
  grad_fn: GradFn
  apply_fn: ApplyFn
  active_fn: ActiveFn
  key: chex.PRNGKey
  phase: str


class OnceFn(Protocol):
  """`make()`, computed once for all lengths of the continuum that an evaluation measures.

  For what does not depend on `Query.continuum`, where it is much of the work. The same `name` gives
  what the first call of that name gave; calls must not stand within a loop or a `vmap` of the
  method's own.
  """

  def __call__(self, name: str, make: Callable[[], Any]) -> Any: ...


def _each_time(name: str, make: Callable[[], Any]) -> Any:
  del name
  return make()


class Query(NamedTuple):
  """What a method may look at when it predicts: examples without their labels.

  Attributes:
    batch: the examples to be classified. `label` is 0 and `index` -1 throughout. `task_id` is the
      example's task in the scenario `"task"`, and the last task learned in the others, which hide
      it.
    current_task: traced int32 scalar, the last task learned.
    apply_fn: see `ApplyFn`.
    active_fn: see `ActiveFn`.
    key: the method's own random key, the same for all batches of an evaluation.
    continuum: static; p: the batch is B / p runs of p consecutive examples of one task, of which
      the last ones may be padding. 1: nothing is promised.
    once: see `OnceFn`.
  """

  batch: Batch
  current_task: chex.Array
  apply_fn: ApplyFn
  active_fn: ActiveFn
  key: chex.PRNGKey
  continuum: int
  once: OnceFn = _each_time


class Cost(NamedTuple):
  """What a training step costs beside the one pass of the model.

  Attributes:
    text: one line for people, such as "16 configurations".
    bytes: what a step holds in any case, on each device.
    way_out: what to change where that does not fit.
  """

  text: str
  bytes: int
  way_out: str


State = Any
Served = Any
"""What `Method.prepare` hands to `Method.predict`: the model's variables by default."""


def keep_state(state: State, params: chex.ArrayTree) -> State:
  """The `Method.restart` of what starts anew with no session."""
  del params
  return state


def _keep(state: State, variables: Variables, *, at: Boundary) -> tuple[State, Variables]:
  del at
  return state, variables


def _rehearse_nothing(state: State) -> Batch | None:
  del state
  return None


def _serve_variables(state: State, variables: Variables, *, at: Boundary) -> Served:
  del state, at
  return variables


def _predict_by_model(served: Served, *, at: Query) -> chex.Array:
  logits, _ = at.apply_fn(served, at.batch)
  return logits


def _diagnose_nothing(state: State) -> dict[str, chex.Array]:
  del state
  return {}


def _costs_nothing(
  params: chex.ArrayTree, layer_sizes: Sequence[int], batch_size: int
) -> Cost | None:
  del params, layer_sizes, batch_size
  return None


def _use_all(state: State, params: chex.ArrayTree, used: chex.ArrayTree) -> chex.ArrayTree:
  del state, params
  return used


def _no_outcome(state: State, task_id: chex.Array) -> dict[str, chex.Array]:
  del state, task_id
  return {}


_NO_SETTINGS: Mapping[str, Any] = types.MappingProxyType({})
_ONE_PHASE = (Phase("train"),)


class Method(NamedTuple):
  """A continual learning method: a gradient transformation that sees the stream.

  Attributes:
    init: `params -> state`. Must copy what it keeps of `params`: a state that holds the same
      buffer twice cannot be donated.
    update: `(updates, state, params, *, at: Step) -> (updates, state)`, every training step. A
      third value, `{name: collection}`, takes the places of those collections of the model's
      variables that training passes of its own have moved (running averages).
    consolidate: `(state, variables, *, at: Boundary) -> (state, variables)`, at the end of a task
      (of each of its phases).
    rehearsal: `state -> Batch | None`: exemplars `[M, ...]` that are mixed into the training set of
      the task, and shuffled with it; M is static, rows whose mask is False are not there. It may
      read only what `consolidate` writes, so that it stays the same throughout a phase.
    prepare: `(state, variables, *, at: Boundary) -> served`, once before each evaluation of all
      tasks: it is not told which task is tested. The state does not change.
    predict: `(served, *, at: Query) -> logits`, float `[B, K]`; the outputs that are not active are
      masked afterwards. By default the logits of the model.
    restart: `(state, params) -> state`, for methods around it that let an optimizer start anew
      with each session (`tagjax.methods.itaml`): what `lift` makes starts at `init(params)`. By
      default the state stays.
    diagnose: `state -> {name: float array [P, ...]}`, a row a parameter tensor: figures worth
      plotting, averaged over the steps of each task's last epoch and kept beside the results; no
      part of the algorithm. What is undefined in places is a `tagjax.core.types.PartlyDefined`.
    monitor: `state -> {name: float array}`, of any shape: figures worth following from step to
      step, such as a posterior. The log has their means over the steps of each chunk; no part of
      the algorithm.
    in_use: `(state, params, used) -> used`, after each task: which parameters the tasks so far
      need. `used` is a tree like `params` of bool arrays that broadcast to them; by default all
      parameters but the rows of tasks that have not begun, and what the model says. A method that
      has capacity in reserve (units, weights) narrows it, such as `used & mask`.
    outcome: `(state, task_id) -> {name: float array}`, of any shape, after each task: what has been
      decided, such as the units of each layer (capacity) or a chosen configuration; kept by task
      in the results, under its name. A scalar `X_lacking` is the number of X for which there was no
      room; where it is not 0, a line tells it.
    cost: `(params, layer_sizes, batch_size) -> Cost | None`, of shapes: what a step costs, where
      that is many times the model's; told before anything is compiled. `layer_sizes`: how many
      numbers each layer makes of an image, where the model tells (a method `layer_sizes` of its
      own, `image_shape -> sizes`), else nothing; `batch_size`: examples on a device.
    name: static; what it is called in reports and folders.
    settings: static; the values of its options, which tell its runs from others of the same name.
    phases: static; the training passes of each task, one after another.
    ignores_updates: static; True if `update` ignores the incoming updates, so that nothing may
      stand before it in a chain.
    pads_batches: static; whether training passes of its own move running averages by batches in
      which some rows are padding.
    num_boundary_examples: static; how many examples `consolidate` looks at, the first ones of its
      chunk. None: all of the task, which must then find room on the device.
    requires: static; what the model must have: names of arguments of its `__call__`, or of
      collections of its variables.
    notes: static; what a run says before it begins, a line each: settings that work, but not as
      somebody may think who chose them.
  """

  init: Callable[[chex.ArrayTree], State]
  update: Callable[..., tuple]
  consolidate: Callable[..., tuple[State, Variables]] = _keep
  rehearsal: Callable[[State], Batch | None] = _rehearse_nothing
  prepare: Callable[..., Served] = _serve_variables
  predict: Callable[..., chex.Array] = _predict_by_model
  restart: Callable[[State, chex.ArrayTree], State] = keep_state
  diagnose: Callable[[State], dict[str, chex.Array]] = _diagnose_nothing
  monitor: Callable[[State], dict[str, chex.Array]] = _diagnose_nothing
  in_use: Callable[[State, chex.ArrayTree, chex.ArrayTree], chex.ArrayTree] = _use_all
  outcome: Callable[[State, chex.Array], dict[str, chex.Array]] = _no_outcome
  cost: Callable[[chex.ArrayTree, Sequence[int], int], Cost | None] = _costs_nothing
  name: str = ""
  settings: Mapping[str, Any] = _NO_SETTINGS
  phases: tuple[Phase, ...] = _ONE_PHASE
  ignores_updates: bool = False
  pads_batches: bool = False
  num_boundary_examples: int | None = None
  requires: frozenset[str] = frozenset()
  notes: tuple[str, ...] = ()


def consolidates(method: Method) -> bool:
  """Whether the method does anything when a task ends."""
  return method.consolidate is not _keep


def rehearses(method: Method) -> bool:
  """Whether the method mixes exemplars into the training set."""
  return method.rehearsal is not _rehearse_nothing


def prepares(method: Method) -> bool:
  """Whether the method makes something of its own before an evaluation."""
  return method.prepare is not _serve_variables


def predicts(method: Method) -> bool:
  """Whether the method has its own way to predict."""
  return method.predict is not _predict_by_model


def reserves(method: Method) -> bool:
  """Whether the method says which of the parameters are in use."""
  return method.in_use is not _use_all


def has_outcome(method: Method) -> bool:
  """Whether the method has something to tell of each task that has ended."""
  return method.outcome is not _no_outcome


def num_boundary_examples(*methods: Method) -> int | None:
  """How many examples of a task these methods together look at when it ends; None: all.

  >>> num_boundary_examples(identity())
  0
  """
  asked = [method.num_boundary_examples if consolidates(method) else 0 for method in methods]
  known = [number for number in asked if number is not None]
  return max(known) if len(known) == len(asked) else None


def check_phases(method: Method) -> None:
  """Refuses phases that a run could not go through.

  Raises:
    TypeError: if a phase is not a `Phase`.
    ValueError: if there is none, a name comes twice, or a number of epochs is less than 1.
  """
  for phase in method.phases:
    if not isinstance(phase, Phase):
      raise TypeError(f"phases={method.phases!r} holds {phase!r}: write Phase({phase!r})")
    if phase.epochs is not None and phase.epochs < 1:
      raise ValueError(
        f"{phase}: a phase has at least one epoch; give None for as many as the run has"
      )
  names = [phase.name for phase in method.phases]
  if not names or len(set(names)) < len(names):
    raise ValueError(f"phases={names}: a method has at least one phase, each with its own name")


def identity() -> Method:
  """The method that changes nothing: what a strength or capacity of 0 gives.

  >>> identity().init({})
  ()
  """

  def init(params):
    del params
    return ()

  def update(updates, state, params, *, at: Step):
    del params, at
    return updates, state

  return Method(init, update)


def lift(
  transform: optax.GradientTransformation | Method,
  *,
  diagnose: Callable[[State], dict[str, chex.Array]] = _diagnose_nothing,
) -> Method:
  """Makes a `Method` of an Optax transformation; a `Method` is returned as it is.

  The transformation receives what Optax's transformations may ask for: `task_id`, `value` (the
  loss), `grad` (the gradient before any change) and `epoch_step` (see `Step`). Those that ask for
  nothing ignore them. Within an inner loop over tasks `task_id` is the inner one: TAG tells the
  tasks apart.

  Args:
    transform: an Optax transformation, with or without extra arguments, or a method.
    diagnose: `state -> {name: array}`, see `Method`.

  Returns:
    The method. It has one phase and does nothing at task ends; `restart` makes its state anew.

  Raises:
    TypeError: if `transform` is neither.

  >>> method = lift(optax.sgd(0.1))
  >>> method.phases
  (Phase(name='train', epochs=None),)
  """
  if isinstance(transform, Method):
    return transform
  if not isinstance(transform, optax.GradientTransformation):
    raise TypeError(
      f"expected a tagjax Method or an optax.GradientTransformation, got {type(transform).__name__}"
    )
  inner = optax.with_extra_args_support(transform)

  def update(updates, state, params, *, at: Step):
    return inner.update(
      updates,
      state,
      params,
      task_id=at.task_id if at.inner_task is None else at.inner_task,
      value=at.loss,
      grad=at.grad,
      epoch_step=at.epoch_step,
    )

  def restart(state, params):
    del state
    # Some transformations keep params as they are, which a donated state must not.
    return jax.tree.map(jnp.copy, inner.init(params))

  return Method(init=inner.init, update=update, restart=restart, diagnose=diagnose)


def as_transform(method: Method) -> optax.GradientTransformationExtraArgs:
  """The update of `method` as an Optax transformation that requires the keyword `at: Step`.

  For use inside a loop of one's own; whoever runs it must also call `method.consolidate` at each
  task's end. Running averages that the update has moved are left out. Without `at` it raises a
  TypeError instead of running silently without the stream.
  """

  def update(updates, state, params=None, *, at: Step, **extra):
    del extra
    return method.update(updates, state, params, at=at)[:2]

  return optax.GradientTransformationExtraArgs(method.init, update)
