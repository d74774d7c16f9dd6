"""What a run refuses before anything is compiled: streams and methods that cannot be trained."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tagjax.core import register
from tagjax.core.errors import ConfigError, reason
from tagjax.core.keys import key_shape
from tagjax.core.method import EpochStep, Method, predicts
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.learner import Learner, LearnerState
from tagjax.input_pipeline.order import pass_size
from tagjax.training.options import RunOptions, epochs_by_task
from tagjax.training.schedule import visits_of

_OF_A_STREAM = ("name", "spec", "max_value", "sizes", "task_names", "__len__", "__getitem__")
_PARTS = {"train": "training", "validation": "validation", "test": "test"}


def check_stream(stream: Any, options: RunOptions) -> None:
  """Refuses a stream that cannot be trained on, from its sizes alone.

  Raises:
    ConfigError: one line that says what is missing or does not fit.
  """
  for name in _OF_A_STREAM:
    if not hasattr(stream, name):
      raise ConfigError(
        f"the stream ({type(stream).__name__}) has no {name!r}: see tagjax.training.assemble.Stream"
      )
  num_tasks, sizes = len(stream), list(stream.sizes)
  told = (("spec.num_tasks", stream.spec.num_tasks), ("sizes of", len(sizes)))
  for what, number in (*told, ("task_names of", len(stream.task_names))):
    if number != num_tasks or num_tasks == 0:
      raise ConfigError(f"{stream.name}: {num_tasks} tasks, and {what} {number}: they must agree")
  epochs_by_task(options.epochs, num_tasks)
  visits_of(options, num_tasks)
  if options.visit_order is not None and stream.spec.scenario != "task":
    raise ConfigError(
      f"visit_order={options.visit_order!r}: in the scenario {stream.spec.scenario!r} the outputs "
      "in use depend on the last task: use the scenario 'task'"
    )
  part = 2 if options.evaluate_on == "test" else 1
  parts = {"training": 0, options.evaluate_on: part}
  if options.needs_validation:
    parts["validation"] = 1
  for task, size in enumerate(sizes):
    for count, what in ((size[place], what) for what, place in parts.items()):
      if count == 0:
        way_out = "give a validation_fraction" if what == "validation" else "leave the task out"
        raise ConfigError(f"{stream.name}: task {task} has no {what} examples: {way_out}")
  if options.records_details:
    _check_measures([size[part] for size in sizes], stream.spec.num_outputs, options)


_MOST_OF_A_PASS = 4096
_MOST_CONFUSED = 1000  # outputs: a million counts of each seed


def _check_measures(sizes: Sequence[int], num_outputs: int, options: RunOptions) -> None:
  """Refuses what evaluations cannot measure of test sets of these sizes."""
  longest = options.all_lengths[-1]
  key = "continuum" if options.continuum == longest else "continuum_lengths"
  value = getattr(options, key)
  if longest > min(sizes):
    task = int(np.argmin(sizes))
    raise ConfigError(
      f"{key}={value}: a run of {longest} images is of one task, and task {task} has "
      f"{sizes[task]} {options.evaluate_on} examples: choose at most {sizes[task]}"
    )
  size = pass_size(max(sizes), options.eval_batch_size, options.all_lengths)
  if size > max(options.eval_batch_size, _MOST_OF_A_PASS):
    raise ConfigError(
      f"{key}={value}: an evaluation pass would take {size} examples, so as to cut no run of the "
      f"lengths {options.all_lengths}: choose lengths with a smaller common multiple, or raise "
      f"eval_batch_size={options.eval_batch_size}"
    )
  if options.confusion_matrix and num_outputs > _MOST_CONFUSED:
    raise ConfigError(
      f"confusion_matrix=True: {num_outputs} outputs would make {num_outputs**2} counts of each "
      f"seed: leave it out; it is for at most {_MOST_CONFUSED}"
    )


def check_examples(stream: Any, options: RunOptions) -> None:
  """Refuses examples that are not what the stream's spec and sizes say.

  Every task is made once for it, so it is for objects of the user's own: a `tagjax.Stream` has
  checked its labels when it was made.

  Raises:
    ConfigError: one line that names the task, the part of it and what does not fit.
  """
  spec = stream.spec
  for task in range(len(stream)):
    experience = stream[task]
    for place, (part, what) in enumerate(_PARTS.items()):
      tested = ("validation",) if options.needs_validation else ()
      if part not in ("train", options.evaluate_on, *tested):
        continue
      where = f"{stream.name}: the {what} examples of task {task}"
      if not hasattr(experience, part):
        raise ConfigError(f"{where} are missing: stream[{task}] has no {part!r}")
      _check_arrays(where, getattr(experience, part), stream.sizes[task][place], spec)


def _check_arrays(where: str, examples: Any, size: int, spec: StreamSpec) -> None:
  for name in ("image", "label", "task_id"):
    if not hasattr(examples, name):
      raise ConfigError(f"{where} have no {name!r}: see tagjax.training.assemble.Stream")
    if len(getattr(examples, name)) != size:
      found = len(getattr(examples, name))
      raise ConfigError(
        f"{where}: {name} has {found} rows, and sizes says {size}: mend one of them"
      )
  shape, dtype = tuple(examples.image.shape[1:]), examples.image.dtype
  if shape != tuple(spec.image_shape) or dtype != spec.image_dtype:
    raise ConfigError(
      f"{where} are {dtype} {shape}, and the spec says {np.dtype(spec.image_dtype)} "
      f"{tuple(spec.image_shape)}: mend image_dtype and image_shape of the spec"
    )
  label, task_id = np.asarray(examples.label), np.asarray(examples.task_id)
  _check_range(f"{where} have the label", label, spec.num_outputs, "num_outputs")
  _check_range(f"{where} have the task_id", task_id, spec.num_tasks, "num_tasks")
  taught = np.asarray(spec.classes)[task_id, label]
  if not taught.all():
    row = int(np.argmin(taught))
    raise ConfigError(
      f"{where} have the label {label[row]} for task {task_id[row]}, which spec.classes does not "
      "name among the outputs of that task: mend one of the two"
    )


def _check_range(what: str, values: np.ndarray, number: int, name: str) -> None:
  if not np.issubdtype(values.dtype, np.integer):
    raise ConfigError(f"{what}s as {values.dtype}, must be integers: convert them")
  outside = values[(values < 0) | (values >= number)]
  if outside.size:
    raise ConfigError(
      f"{what} {outside[0]}, outside 0 to {number - 1}: renumber them, or raise {name} of the spec"
    )


def is_ours(model: Any, method: Method) -> bool:
  """Whether model and method come with this package: the contract suite has tried them."""
  parts = [register.of_function(type(model)), *map(register.find, method.name.split("+"))]
  return all(one is not None and _module(one.make).startswith("tagjax.") for one in parts)


def _module(function: Callable[..., Any]) -> str:
  return inspect.unwrap(function).__module__


def check_method(
  learner: Learner, method: Method, hyper: Any, sizes: Sequence[int], options: RunOptions
) -> None:
  """Runs a method's functions on shapes only, and compares its state before and after.

  Args:
    learner: with the method in it, for one device.
    method: the method, for its name and what it defines.
    hyper: hyperparameters, as shapes.
    sizes: training examples of each task.
    options: of the run.

  Raises:
    ConfigError: one line that names the method, and the leaf with what it was and is.
  """
  name = f"method {method.name}" if method.name else "the method"
  on_shapes = functools.partial(_on_shapes, name)
  state = on_shapes("init", learner.init, key_shape(), hyper)
  task_id = jax.ShapeDtypeStruct((), np.int32)
  batch_size = options.batch_size
  batch = _batch(learner.spec, (batch_size,))
  asked = learner.num_boundary_examples
  num_batches = -(-(max(sizes) if asked is None else asked) // batch_size)
  chunk = _batch(learner.spec, (num_batches, batch_size))
  for phase in learner.phases:
    step = functools.partial(_step, learner, phase.name)
    after, _ = on_shapes("update", step, state, batch, task_id, EpochStep(*[task_id] * 6))
    _check_same(name, "update", method, state, after)
    end = functools.partial(learner.consolidate, phase=phase.name)
    after = on_shapes("consolidate", end, state, chunk, task_id)
    _check_same(name, "consolidate", method, state, after)
  if learner.rehearses:
    _check_exemplars(name, on_shapes("rehearsal", learner.rehearsal, state), learner.spec)
  if learner.prepares or predicts(method):
    served = on_shapes("prepare", learner.prepare, state, task_id)
    for length in options.all_lengths:
      runs = _batch(learner.spec, (-(-batch_size // length) * length,))
      predict = functools.partial(learner.predict, continuum=length)
      on_shapes("predict", predict, served, runs, task_id)


def _step(learner: Learner, phase: str, state, batch, task_id, epoch_step):
  return learner.step(state, batch, task_id, phase=phase, epoch_step=epoch_step)


def _on_shapes(name: str, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
  try:
    return jax.eval_shape(function, *arguments)
  except ConfigError:
    raise
  except (TypeError, ValueError) as error:
    text = str(error) if what == "init" else f"{what}: {reason(error)}"
    raise ConfigError(f"{name}: {text}") from error


def _batch(spec: StreamSpec, rows: tuple[int, ...]) -> Batch:
  integers = jax.ShapeDtypeStruct(rows, np.int32)
  image = jax.ShapeDtypeStruct((*rows, *spec.image_shape), spec.image_dtype)
  return Batch(image, integers, integers, jax.ShapeDtypeStruct(rows, np.bool_), integers)


def _check_same(
  name: str, what: str, method: Method, before: LearnerState, after: LearnerState
) -> None:
  """Refuses a step of which the state comes out with other leaves, shapes or dtypes."""
  members = method.name.split("+")
  for part, old, new in (
    ("state", before.method, after.method),
    ("variables", before.variables, after.variables),
  ):
    was, now = _leaves(old), _leaves(new)
    for path in [*was, *(path for path in now if path not in was)]:
      if was.get(path) == now.get(path):
        continue
      is_chain = part == "state" and isinstance(old, tuple) and len(old) == len(members) > 1
      owner = f" of {members[path[0].idx]}" if is_chain else ""
      leaf = jax.tree_util.keystr(path[1:] if is_chain else path)
      raise ConfigError(
        f"{name}: {what} changes the {part}{owner}: {leaf or 'it'} was {was.get(path, 'absent')} "
        f"and is {now.get(path, 'absent')}; give it back with the shape and dtype that it had"
      )
    was_tree, is_tree = str(jax.tree.structure(old)), str(jax.tree.structure(new))
    if was_tree != is_tree:
      raise ConfigError(
        f"{name}: {what} gives the {part} back as another tree: it was {was_tree} and is {is_tree}"
      )


def _leaves(tree: Any) -> dict[tuple, str]:
  """What lies at each path, such as `float32[3,4]`."""
  return {
    path: f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def _check_exemplars(name: str, exemplars: Batch, spec: StreamSpec) -> None:
  """Refuses exemplars that cannot be shuffled with the examples of a task."""
  number = exemplars.mask.shape[0]
  wanted = _leaves(_batch(spec, (number,)))
  for path, found in _leaves(exemplars).items():
    if found != wanted[path]:
      leaf = jax.tree_util.keystr(path)
      raise ConfigError(
        f"{name}: rehearsal gives {leaf} as {found}, and must give {wanted[path]}, as the stream"
      )
