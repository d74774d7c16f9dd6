"""The objects that settings name: a stream, a model and a method."""

import functools
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax import benchmarks
from tagjax.config import early, plugins
from tagjax.config.settings import Settings, held, members, schedules
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.keys import key_shape
from tagjax.core.method import Method, Phase, Step, keep_state, lift
from tagjax.core.register import Declaration, declared, signature_options
from tagjax.core.types import Hyper, Scenario, StreamSpec, Variables
from tagjax.engine.model import as_model, task_stacked
from tagjax.methods import fresh_each_task
from tagjax.models.torch_weights import load_torch_weights
from tagjax.training.options import epochs_by_task
from tagjax.training.schedule import visits_of
from tagjax.transforms import Columns, freeze, only_current_task, scale_by_task_schedule
from tagjax.transforms.schedules import product

MethodOf = Callable[..., Method]
"""`(hyper, *, columns) -> Method`; the values of `hyper` may be traced."""


def build_stream(settings: Settings) -> benchmarks.Stream:
  """The stream that the settings describe.

  Raises:
    ConfigError: if the benchmark refuses a setting.
  """
  benchmark = plugins.resolve("benchmark", settings["benchmark"], "benchmark")
  common = {name: settings[name] for name in signature_options(benchmarks.load_benchmark)}
  own = {name: settings[benchmark.key(name)] for name in benchmark.options}
  try:
    stream = benchmarks.load_declared(benchmark, common, own)
    if (settings["first_task"], settings["end_task"]) == (0, None):
      return stream  # which may be an object of the user's own, without `part`
    return stream.part(settings["first_task"], settings["end_task"])
  except ConfigError:
    raise
  except ValueError as error:
    raise named(error, benchmark, settings) from error


def build_model(settings: Settings, spec: StreamSpec) -> Any:
  """The model that the settings name.

  Raises:
    ConfigError: if it refuses an option.
  """
  model = plugins.resolve("model", settings["model"], "model")
  provided = {
    "spec": spec,
    "num_outputs": spec.num_outputs,
    "num_tasks": spec.num_tasks,
    "compute_dtype": jnp.dtype(settings["compute_dtype"]),
    "axis_name": None,
    "attributes": spec.attributes,
  }
  if "rngs" in model.provided:  # an NNX class, or what makes a module of one
    given = _arguments(model, settings, {}, provided)
    return functools.partial(model.make, **given)  # every trial makes a network of its own
  return _call(model, settings, {}, provided)


def build_method(
  settings: Settings,
  spec: StreamSpec,
  steps_per_epoch: Sequence[int],
  stacked: Any = None,
) -> MethodOf:
  """The chain that `settings["method"]` spells, as a function of hyperparameters.

  Args:
    settings: of the run.
    spec: the stream's head.
    steps_per_epoch: training steps of one epoch, for each task.
    stacked: tree of bools like the parameters, True where they are stacked by task; None: none is.

  Returns:
    `(hyper, *, columns=None) -> Method`. The values of `hyper` take the place of the settings' and
    may be traced; a method refuses its settings with a ConfigError when it is made.
  """
  steps = tuple(steps_per_epoch)
  epochs = epochs_by_task(settings["epochs"], len(steps))
  provided = {
    "spec": spec,
    "num_tasks": spec.num_tasks,
    "steps_per_epoch": steps,
    "steps_per_task": tuple(n * size for n, size in zip(epochs, steps, strict=True)),
    "stacked": stacked,
    "batch_size": settings["batch_size"],
  }
  chosen = members(settings["method"])
  schedule_of = _schedule(settings, provided)
  has_stacked = stacked is not None and any(jax.tree.leaves(stacked))

  def made_with(given: Mapping[str, Any], hyper: Hyper, schedule: Any) -> Method:
    optimizer = lift(_call(chosen[-1], settings, hyper, given))
    if has_stacked:
      alone = lift(_call(chosen[-1], settings, hyper, {**given, "num_tasks": 1, "columns": None}))
      optimizer = _of_current_task(optimizer, stacked, alone)
    if settings["fresh_optimizer"]:
      optimizer = _refusing("fresh_optimizer", True, fresh_each_task, optimizer)
    made = [optimizer._replace(name=chosen[-1].name)]
    if schedule is not None:
      made.append(_by_learned_task(schedule)._replace(name="schedule"))
    if settings["freeze"]:
      made.append(_frozen(settings["freeze"])._replace(name="freeze"))
    for member in reversed(chosen[:-1]):
      made = _with_member(member, settings, hyper, given, made)
    return _joined(made, settings)

  def method_of(hyper: Hyper | None = None, *, columns: Columns | None = None) -> Method:
    hyper = hyper or {}
    rate = hyper.get("learning_rate", settings["learning_rate"])
    given = {**provided, "learning_rate": rate, "columns": columns}
    unscheduled = made_with(given, hyper, None)
    if schedule_of is None:
      return unscheduled
    return made_with(given, hyper, schedule_of(unscheduled.phases))

  return method_of


def _with_member(
  member: Declaration,
  settings: Settings,
  hyper: Hyper,
  given: Mapping[str, Any],
  rest: list[Method],
) -> list[Method]:
  """The chain `rest` with the member before it, or around it if it asks for an inner optimizer."""
  if "inner" in member.provided:
    made = _call(member, settings, hyper, {**given, "inner": _joined(rest, settings)})
    init = functools.partial(_refusing, "method", settings["method"], made.init)
    return [made._replace(init=init)]
  return [lift(_call(member, settings, hyper, given))._replace(name=member.name), *rest]


def _joined(members: list[Method], settings: Settings) -> Method:
  if len(members) == 1:
    return members[0]
  return _refusing("method", settings["method"], chain, *members)


def _by_learned_task(schedule: optax.GradientTransformation) -> Method:
  """The schedule goes by the task that is learned, inside of an inner loop over tasks as well.

  It tells the tasks apart by itself, and must not start anew with the optimizer.
  """
  lifted = lift(schedule)

  def update(updates, state, params, *, at: Step):
    return lifted.update(updates, state, params, at=at._replace(inner_task=None))

  return lifted._replace(update=update, restart=keep_state)


def _frozen(patterns: tuple[str, ...]) -> Method:
  """The last member of a chain; whether the patterns match is known when it gets parameters."""
  transform = _refusing("freeze", patterns, freeze, *patterns)
  init = functools.partial(_refusing, "freeze", patterns, transform.init)
  return lift(transform._replace(init=init))


def _of_current_task(optimizer: Method, stacked: Any, alone: Method) -> Method:
  """The optimizer, with a state of its own for each task's rows of task-stacked parameters."""
  transform = only_current_task(_unlifted(optimizer), stacked, rows=_unlifted(alone))
  return lift(transform)


def _unlifted(method: Method) -> optax.GradientTransformationExtraArgs:
  """The Optax transformation that was lifted into a method of one phase without a task's end."""

  def update(updates, state, params=None, *, task_id, **told):
    known = {name: told.get(name) for name in ("grad", "epoch_step")}
    at = types.SimpleNamespace(task_id=task_id, inner_task=None, loss=told.get("value"), **known)
    return method.update(updates, state, params, at=at)

  return optax.GradientTransformationExtraArgs(method.init, update)


def _schedule(settings: Settings, provided: Mapping[str, Any]) -> Any:
  """From the phases of the method to the schedule, which is as long as all of them; None: none."""
  if settings["schedule"] is None:
    return None
  shape, steps = _shape_of_schedule(settings, provided), provided["steps_per_epoch"]
  epochs = epochs_by_task(settings["epochs"], len(steps))
  joint = settings["protocol"] == "joint"
  make = functools.partial(
    scale_by_task_schedule,
    shape,
    steps_per_epoch=steps,
    over="task" if joint else settings["schedule_over"],  # there one task is the whole stream
    visits=[visit.task for visit in visits_of(early.run_options(settings), len(steps))],
  )

  @functools.cache  # a method is made anew in each trace
  def schedule_of(phases: tuple[Phase, ...]) -> optax.GradientTransformation:
    per_task = tuple(
      sum(phase.epochs or number for phase in phases) * size
      for number, size in zip(epochs, steps, strict=True)
    )
    return _refusing("schedule", settings["schedule"], make, per_task)

  return schedule_of


def _shape_of_schedule(settings: Settings, provided: Mapping[str, Any]) -> Any:
  shapes = [_call(one, settings, {}, provided) for one in schedules(settings["schedule"])]
  return shapes[0] if len(shapes) == 1 else product(*shapes)


def load_pretrained(settings: Settings, model: Any, spec: StreamSpec) -> Variables | None:
  """What the model starts with besides random values; says so if its head is not in it.

  Raises:
    ConfigError: if the model takes no weights from a file, or not those of the file.
  """
  path = settings["pretrained"]
  if path is None:
    return None
  _check_pretrainable(settings, model)
  image = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
  like = jax.eval_shape(as_model(model, spec).init, key_shape(), image)
  try:
    weights = load_torch_weights(path, like, model.torch_names())
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise ConfigError(f"config.pretrained={path!r}: {reason}") from error
  if "head" not in weights["params"]:
    print(
      f"pretrained: all but the head, of {spec.num_outputs} outputs, which is new", file=sys.stderr
    )
  return weights


def _check_pretrainable(settings: Settings, model: Any) -> None:
  if settings["pretrained"] is not None and not hasattr(model, "torch_names"):
    names = [one.name for one in declared("model").values() if hasattr(one.make, "torch_names")]
    raise ConfigError(
      f"config.pretrained={settings['pretrained']!r}: config.model={settings['model']!r} takes no "
      f"weights from a file; choose {' or '.join(sorted(names))}"
    )


def stacked_of(settings: Settings, model: Any, spec: StreamSpec) -> Any:
  """Which parameters of the model are stacked by task, see `tagjax.task_stacked`.

  Raises:
    ConfigError: if the model cannot take the stream's images.
  """
  return _refusing("model", settings["model"], task_stacked, model, spec)


def check_parts(settings: Settings) -> None:
  """Makes model and method for the smallest stream of the scenario, before data are read.

  What a function refuses by its own checks is told at once; what depends on the real stream is
  told when that is known.

  Raises:
    ConfigError: one line that names the key, its value and what it must be.
  """
  scenario: Scenario = settings["scenario"] or "task"
  classes = np.ones((1, 1), bool)
  spec = StreamSpec(1, 1, classes, scenario, (1, 1, 1), attributes=np.ones((1, 1), np.float32))
  _check_pretrainable(settings, build_model(settings, spec))
  build_method({**settings, "schedule": None, "epochs": 1}, spec, [1])({})
  if settings["schedule"] is not None:
    _shape_of_schedule(settings, {"spec": spec, "num_tasks": spec.num_tasks})


def _arguments(
  one: Declaration, settings: Settings, hyper: Hyper, provided: Mapping[str, Any]
) -> dict[str, Any]:
  """What the function is called with; an option that is None takes what the library provides."""
  given = {name: provided[name] for name in one.provided if name in provided}
  inner = {
    name: _call(other, settings, hyper, provided) for name, other in held(one, settings).items()
  }
  for name in (*one.options, *one.shared):
    key = one.key(name)
    value = hyper.get(key, settings[key])
    given[name] = provided.get(name) if value is None else value
  return given | inner


def _call(one: Declaration, settings: Settings, hyper: Hyper, provided: Mapping[str, Any]) -> Any:
  try:
    return one.make(**_arguments(one, settings, hyper, provided))
  except ConfigError:
    raise
  except ValueError as error:
    raise named(error, one, settings) from error


def _start(pattern: str, text: str) -> str:
  """What the pattern finds at the beginning of the text."""
  found = re.match(pattern, text)
  return found[0] if found else ""


def named(error: ValueError, one: Declaration, settings: Settings) -> ConfigError:
  """The error with the key and the value of the option that it begins with.

  `strength must be at least 0, got -1` of ewc becomes `config.ewc.strength=-1: must be at least 0`.
  """
  text = str(error)
  name = _start(r"[\w.]*", text).removesuffix(".")
  key = one.key(name) if name in {*one.options, *one.shared} else name
  if key not in settings:
    named_by = "method" if one.kind in ("optimizer", "modifier") else one.kind
    return ConfigError(f"{one.name} in config.{named_by}={settings[named_by]!r}: {text}")
  value = repr(settings[key])
  rest = text[len(name) :].removeprefix(f" of {one.name}").replace(f", got {value}", "")
  # What has been said of the value: `=0.5`, ` is 0.5,` or nothing.
  said = _start(rf"=(?:{re.escape(value)}|[^\s:,]+)| is {re.escape(value)}(?=[,:])|", rest)
  rest = rest[len(said) :]
  if not said.startswith("="):
    rest = rest.lstrip(":, ")
    goes_on = re.match(r"(in )?which |but ", rest)  # as in `is 3, which does not divide`
    rest = f"{', ' if goes_on else ': '}{rest}"
  return ConfigError(f"config.{key}={value}{rest}")


def _refusing(key: str, value: Any, function: Callable, *arguments: Any) -> Any:
  try:
    return function(*arguments)
  except ValueError as error:
    raise ConfigError(f"config.{key}={value!r}: {error}") from error
