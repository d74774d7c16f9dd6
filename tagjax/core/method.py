"""The types that everything else is written in: batches, methods, and what a method is told.

A continual learning method is a `Method`: an Optax transformation that may look at the batch, may
ask for the gradient somewhere else, and is told when a task ends. Methods are pure functions over
explicit state; `chain` composes them, `lift` makes one of any Optax transformation.

Floor 0 of the house: this module imports nothing of tagjax.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import chex
import jax
import optax

from tagjax.core.types import Batch, Variables


class GradFn(Protocol):
  """Loss and gradient of the model at `params` on `batch`, averaged over all devices.

  The model's other variables (BatchNorm's running averages) are those of the moment and are left
  alone. `loss_fn(logits, batch) -> scalar` replaces the learner's loss; it gets unmasked logits.
  `train` chooses training mode (batch statistics, dropout drawn from `key`) or evaluation mode.
  """

  def __call__(
    self,
    params: chex.ArrayTree,
    batch: Batch,
    *,
    key: chex.PRNGKey | None = None,
    loss_fn: Callable[[chex.Array, Batch], chex.Array] | None = None,
    train: bool | None = None,
  ) -> tuple[chex.Array, chex.ArrayTree]: ...


class ApplyFn(Protocol):
  """Unmasked logits `[B, K]` of the model on `batch`, and its other variables after the pass."""

  def __call__(
    self,
    variables: Variables,
    batch: Batch,
    *,
    key: chex.PRNGKey | None = None,
    train: bool = False,
  ) -> tuple[chex.Array, Variables]: ...


class ActiveFn(Protocol):
  """Bool `[B, K]`: the outputs that compete for each example of `batch` in its softmax.

  Whatever looks at logits must look at these only: the others belong to tasks that the example is
  not of, or that have not begun.
  """

  def __call__(self, batch: Batch) -> chex.Array: ...


class Step(NamedTuple):
  """What a method may look at in one training step.

  Attributes:
    task_id: traced int32 scalar, the task being learned.
    batch: the current batch (this device's share of it).
    loss: scalar, the loss of the batch, averaged over devices.
    grad: the gradient of that loss, before any method has changed it.
    logits: float `[B, K]`, unmasked, of the forward pass that gave `loss`.
    variables: the model's variables at the start of the step.
    grad_fn: see `GradFn`; training mode by default.
    apply_fn: see `ApplyFn`.
    active_fn: see `ActiveFn`.
    gather: batch of this device -> batch of all devices, the same on every device. What goes into
      a memory must go through it, else the replicas' memories drift apart.
    key: the method's own random key for this step.
    phase: static name of the training phase.
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
  gather: Callable[[Batch], Batch]
  key: chex.PRNGKey
  phase: str


class Boundary(NamedTuple):
  """What a method may look at when a task ends, or before a task is evaluated.

  Attributes:
    task_id: traced int32 scalar; the task just learned, or the one about to be evaluated.
    chunk: `Batch` with leading axes `[N, B]`: training examples of the task just learned, as many
      as `Method.examples` asks for, in shuffled order, without augmentation, the same on every
      device; None in `adapt`. Rows that only fill up stand at the end.
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


State = Any


def _keep(state: State, variables: Variables, *, at: Boundary) -> tuple[State, Variables]:
  del at
  return state, variables


def _unchanged(state: State, variables: Variables, *, at: Boundary) -> Variables:
  del state, at
  return variables


def _nothing(state: State) -> dict[str, chex.Array]:
  del state
  return {}


class Method(NamedTuple):
  """A continual learning method: a gradient transformation that sees the stream.

  Attributes:
    init: `params -> state`. Must copy what it keeps of `params`: a state that holds the same
      buffer twice cannot be donated.
    update: `(updates, state, params, *, at: Step) -> (updates, state)`, every training step.
    consolidate: `(state, variables, *, at: Boundary) -> (state, variables)`, at the end of a task
      (of each of its phases).
    adapt: `(state, variables, *, at: Boundary) -> variables`, before a task is evaluated.
    diagnose: `state -> {name: float array [P, ...]}`, a row a parameter tensor: figures worth
      plotting, averaged over the steps of each task's last epoch and kept beside the results; no
      part of the algorithm.
    phases: static; the training passes of each task, one after another.
    replaces: static; True if `update` ignores the incoming updates, so that nothing may stand
      before it in a chain.
    examples: static; how many examples `consolidate` looks at, the first ones of its chunk. None:
      all of the task, which must then find room on the device.
  """

  init: Callable[[chex.ArrayTree], State]
  update: Callable[..., tuple[chex.ArrayTree, State]]
  consolidate: Callable[..., tuple[State, Variables]] = _keep
  adapt: Callable[..., Variables] = _unchanged
  diagnose: Callable[[State], dict[str, chex.Array]] = _nothing
  phases: tuple[str, ...] = ("train",)
  replaces: bool = False
  examples: int | None = None


def boundary_examples(*methods: Method) -> int | None:
  """How many examples of a task these methods together look at when it ends; None: all.

  >>> boundary_examples(nothing())
  0
  """
  asked = [0 if method.consolidate is _keep else method.examples for method in methods]
  return None if None in asked else max(asked)


def nothing() -> Method:
  """The method that changes nothing: what a strength or capacity of 0 gives.

  >>> nothing().init({})
  ()
  """

  def update(updates, state, params, *, at: Step):
    del params, at
    return updates, state

  return Method(lambda params: (), update)


def lift(
  transform: optax.GradientTransformation | Method,
  *,
  diagnose: Callable[[State], dict[str, chex.Array]] = _nothing,
) -> Method:
  """Makes a `Method` of an Optax transformation; a `Method` is returned as it is.

  The transformation receives what Optax's transformations may ask for: `task_id`, `value` (the
  loss) and `grad` (the gradient before any change). Those that ask for nothing ignore them.

  Args:
    transform: an Optax transformation, with or without extra arguments, or a method.
    diagnose: `state -> {name: array}`, see `Method`.

  Returns:
    The method. It has one phase and does nothing at task ends.

  Raises:
    TypeError: if `transform` is neither.

  >>> import jax.numpy as jnp
  >>> method = lift(optax.sgd(0.1))
  >>> method.phases
  ('train',)
  """
  if isinstance(transform, Method):
    return transform
  if not isinstance(transform, optax.GradientTransformation):
    raise TypeError(
      f"expected a tagjax Method or an optax.GradientTransformation, got {type(transform).__name__}"
    )
  inner = optax.with_extra_args_support(transform)

  def update(updates, state, params, *, at: Step):
    return inner.update(updates, state, params, task_id=at.task_id, value=at.loss, grad=at.grad)

  return Method(init=inner.init, update=update, diagnose=diagnose)


def chain(*methods: optax.GradientTransformation | Method) -> Method:
  """Composes methods: the updates pass through them from left to right.

  Optax transformations are lifted on the way, so `chain(ewc(...), tagjax.tag(...))` works.

  Args:
    *methods: at least one method or Optax transformation.

  Returns:
    A method whose state is the tuple of their states. Its phases are those of the one member
    that has more than the default phase.

  Raises:
    ValueError: if there is no method, if one that `replaces` its incoming updates is not the
      first, or if two members ask for different phases.
  """
  if not methods:
    raise ValueError("chain() needs at least one method")
  members = tuple(lift(method) for method in methods)
  for position, member in enumerate(members):
    if member.replaces and position > 0:
      raise ValueError(
        f"member {position} of the chain ignores its incoming updates (replaces=True): "
        "put it first, or what stands before it has no effect"
      )

  def init(params):
    return tuple(member.init(params) for member in members)

  def update(updates, state, params, *, at: Step):
    new_state = []
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      updates, member_state = member.update(
        updates, member_state, params, at=_own_key(at, position)
      )
      new_state.append(member_state)
    return updates, tuple(new_state)

  def consolidate(state, variables, *, at: Boundary):
    new_state = []
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      member_state, variables = member.consolidate(
        member_state, variables, at=_own_key(at, position)
      )
      new_state.append(member_state)
    return tuple(new_state), variables

  def adapt(state, variables, *, at: Boundary):
    for position, (member, member_state) in enumerate(zip(members, state, strict=True)):
      variables = member.adapt(member_state, variables, at=_own_key(at, position))
    return variables

  def diagnose(state):
    return {
      name: value
      for member, member_state in zip(members, state, strict=True)
      for name, value in member.diagnose(member_state).items()
    }

  return Method(
    init=init,
    update=update,
    consolidate=consolidate,
    adapt=adapt,
    diagnose=diagnose,
    phases=_common_phases(members),
    replaces=members[0].replaces,
    examples=boundary_examples(*members),
  )


def _own_key(at: Step | Boundary, position: int) -> Step | Boundary:
  """Members of a chain must not draw the same random numbers, such as the same exemplars."""
  return at._replace(key=jax.random.fold_in(at.key, position))


def _common_phases(members: tuple[Method, ...]) -> tuple[str, ...]:
  default = Method._field_defaults["phases"]
  asked = {member.phases for member in members} - {default}
  if len(asked) > 1:
    raise ValueError(f"members of the chain ask for different phases: {sorted(asked)}")
  return asked.pop() if asked else default


def as_transform(method: Method) -> optax.GradientTransformationExtraArgs:
  """The update of `method` as an Optax transformation that requires the keyword `at: Step`.

  For use inside a loop of one's own; whoever runs it must also call `method.consolidate` at each
  task's end. Without `at` it raises a TypeError instead of running silently without the stream.
  """

  def update(updates, state, params=None, *, at: Step, **extra):
    del extra
    return method.update(updates, state, params, at=at)

  return optax.GradientTransformationExtraArgs(method.init, update)
