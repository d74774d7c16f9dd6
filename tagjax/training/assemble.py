"""Stream, model, method and options made into a trainer: checked, placed, not yet compiled."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from tagjax import benchmarks
from tagjax.core.errors import ConfigError
from tagjax.core.keys import key_shape
from tagjax.core.method import Cost, Method, identity, lift
from tagjax.core.sharing import ROUTING, SEARCHED
from tagjax.core.types import Hyper, StreamSpec, Variables
from tagjax.engine.batch_statistics import check_batch_statistics, check_padding_of_method
from tagjax.engine.counts import Measures
from tagjax.engine.layout import Layout
from tagjax.engine.learner import Learner, LearnerState, make_learner
from tagjax.engine.model import checked_model
from tagjax.engine.programs import Programs
from tagjax.engine.train_loop import DEVICE_AXIS
from tagjax.input_pipeline.data_source import evaluation_source, training_source
from tagjax.storage import tree_bytes
from tagjax.training import memory_estimate
from tagjax.training.available_memory import available_memory
from tagjax.training.checks import check_examples, check_method, check_stream, is_ours
from tagjax.training.growth import Growth
from tagjax.training.memory_estimate import Forecast
from tagjax.training.options import RunOptions
from tagjax.training.placement import choose_layout
from tagjax.training.trainer import Trainer, Trial, num_steps
from tagjax.transforms import Columns
from tagjax.transforms.freeze import parameter_names


class Stream(Protocol):
  """What a run needs of a stream; `tagjax.Stream` has it.

  `stream[t]` has `train`, `validation` and `test`, each with `image` `[N, ...]`, `label` int32
  `[N]`, `task_id` int32 `[N]` and a length.

  Attributes:
    name: of the stream.
    spec: shapes, head and scenario.
    max_value: largest value of a stored pixel.
    sizes: `(n_train, n_validation, n_test)` of each task.
    task_names: a name for each task.
  """

  # Properties: whoever has plain attributes, or lists, has these too.
  @property
  def name(self) -> str: ...

  @property
  def spec(self) -> StreamSpec: ...

  @property
  def max_value(self) -> float: ...

  @property
  def sizes(self) -> Sequence[tuple[int, ...]]: ...

  @property
  def task_names(self) -> Sequence[str]: ...

  def __len__(self) -> int: ...

  def __getitem__(self, task_id: int) -> Any: ...


MethodOf = Callable[..., Method]
_IMAGES_AT_ONCE = 1000


def as_method_of(method: Any) -> MethodOf:
  """`(hyper, *, columns) -> Method` of whatever `fit` takes as a method.

  Raises:
    ConfigError: if it is none of these.
  """
  if isinstance(method, Method) or hasattr(method, "init"):
    made = lift(method)
    return lambda hyper, *, columns=None: made
  if not callable(method):
    raise ConfigError(
      f"method is {type(method).__name__}: give a tagjax.Method, an Optax transformation, or a "
      "function of hyperparameters"
    )
  takes_columns = "columns" in inspect.signature(method).parameters

  def method_of(hyper: Hyper, *, columns=None) -> Method:
    return lift(method(hyper, columns=columns) if takes_columns else method(hyper))

  return method_of


def assemble(
  stream: Stream,
  model: Any,
  method: Any,
  trials: Sequence[Trial],
  options: RunOptions,
  *,
  pretrained: Variables | None = None,
  keep_going: bool = False,
  together: int | None = None,
) -> tuple[Trainer, Forecast]:
  """The trainer of a run, and what it will hold in memory.

  Args:
    stream: see `tagjax.fit`.
    model: see `tagjax.fit`.
    method: see `tagjax.fit`.
    trials: what to train.
    options: of the run.
    pretrained: see `tagjax.fit`.
    keep_going: whether the other trials go on without one that has diverged.
    together: trials that the run which goes on has trained together; None: as memory allows.

  Raises:
    ConfigError: if the parts do not fit each other, the machine, or its memory.
  """
  check_stream(stream, options)
  method_of = as_method_of(method)
  default = dict(trials[0].hyper)  # of what is static, a learner asks without hyperparameters
  sizes = training_sizes(stream, options)
  if not isinstance(stream, benchmarks.Stream):
    check_examples(stream, options)
  stacked = _check_model(model, stream.spec, sizes, options)

  mean_image = _mean_image(stream, options)

  def learner(axis_name: str | None, columns: Columns) -> Learner:
    def own(hyper: Hyper) -> Method:
      return method_of({**default, **hyper}, columns=columns)

    return _learner(stream, model, own, options, pretrained, axis_name, mean_image)

  single = learner(None, Columns())
  made = method_of(default, columns=None)
  if not is_ours(model, made):
    check_method(single, made, _hyper_shapes(trials[0]), sizes, options)
    _check_padding(model, stream.spec, made, options)
  streamed = _is_streamed(stream, "train")
  training = training_source(
    _training_examples(stream, options),
    capacity=max(sizes),
    batch_size=options.batch_size,
    chunk_steps=options.chunk_steps,
    streamed=streamed,
  )
  part = options.evaluate_on
  evaluation = evaluation_source(
    lambda task: getattr(stream[task], part),
    num_tasks=len(stream),
    capacity=max(size[2 if part == "test" else 1] for size in stream.sizes),
    eval_batch_size=options.eval_batch_size,
    streamed=_is_streamed(stream, part),
    lengths=options.all_lengths,
  )
  plain, validation = None, None
  if options.select_epoch == "best":
    plain = _learner(stream, model, lambda hyper: identity(), options, None, None, mean_image)
  if options.needs_validation:
    validation = evaluation_source(
      lambda task: stream[task].validation,
      num_tasks=len(stream),
      capacity=max(size[1] for size in stream.sizes),
      eval_batch_size=options.eval_batch_size,
      streamed=_is_streamed(stream, "validation"),
    )
  one = jax.eval_shape(single.init, key_shape(), _hyper_shapes(trials[0]))
  _check_chosen(one, made)
  besides = {
    "training_rows": training.rows(single.num_boundary_examples),
    "evaluation_rows": evaluation.rows + (validation.rows if validation else 0),
    "prepared": memory_estimate.of_prepared(single, one),
  }
  placed = dataclasses.replace(options, seeds_together=together or options.seeds_together)
  alone = streamed or evaluation.in_order  # each trial sees an order of its own
  layout = _layout(one, made, stream.spec, trials, placed, besides, alone)
  shared = Columns(DEVICE_AXIS, layout.num_devices) if layout.share_columns else Columns()
  programs = Programs(
    learner(DEVICE_AXIS, shared) if layout.batch_devices > 1 else single,
    single,
    batch_size=options.batch_size,
    eval_batch_size=evaluation.pass_size,
    layout=layout,
    keep_going=keep_going,
    in_order=streamed,
    measures=_measures(options),
    tested_in_order=evaluation.in_order,
    plain=plain,
    validation_batch_size=validation.pass_size if validation else 0,
  )
  growth = Growth(programs, stacked, one)
  trainer = Trainer(
    trials,
    options,
    programs,
    training,
    evaluation,
    sizes=sizes,
    keep_going=keep_going,
    method=made.name,
    num_bytes=memory_estimate.by_kind(memory_estimate.of_state(one, made)),
    notes=made.notes,
    validation=validation,
    growth=growth,
  )
  held = programs.held(*trainer.start_shapes())
  shared_memory = jax.default_backend() == "cpu"
  forecast = memory_estimate.foresee(
    held, made, stream.spec, layout, **besides, shared=shared_memory
  )
  step = _cost_of_step(model, made, one, stream.spec, options, layout)
  forecast = forecast._replace(step=step, rows=round(growth.share_of_rows * forecast.params))
  memory_estimate.check(forecast, options, _available(), made)
  batch = memory_estimate.batch_bytes(stream.spec, options, layout, shared=shared_memory)
  memory_estimate.check_batch(batch, forecast.total, options, _available())
  return trainer, forecast


def _cost_of_step(model, method, one, spec, options, layout) -> Cost | None:
  """What the method tells, for all lanes that take a step at once."""
  sizes_of = None if isinstance(model, type) else getattr(model, "layer_sizes", None)
  sizes = sizes_of(spec.image_shape) if sizes_of else []
  rows = options.batch_size // layout.batch_devices
  cost = method.cost(one.variables["params"], sizes, rows)
  if cost is None:
    return None
  lanes = 1 if layout.in_turn else layout.lanes_a_device
  copies = layout.num_devices if jax.default_backend() == "cpu" else 1
  return cost._replace(bytes=cost.bytes * lanes * copies)


def training_sizes(stream: Stream, options: RunOptions) -> list[int]:
  """Training examples of each task; in the protocol "joint" those of all tasks together.

  Raises:
    ConfigError: if `drop_last` leaves a task without a batch.
  """
  sizes = [size[0] for size in stream.sizes]
  if options.protocol == "joint":
    sizes = [sum(sizes)] * len(sizes)
  for task, size in enumerate(sizes):
    if num_steps(options, size) == 0:
      raise ConfigError(
        f"batch_size={options.batch_size} is more than the {size} training examples of task "
        f"{task}, and drop_last leaves none: choose a smaller batch"
      )
  return sizes


def state_digest(trainer: Trainer) -> str:
  """What tells states of other leaves apart: a digest of the names, shapes and dtypes of all."""
  hyper = _hyper_shapes(trainer.trials[0])  # however many are trained together
  one = jax.eval_shape(trainer.programs.single.init, key_shape(), hyper)
  text = json.dumps(tree_bytes.describe(one))
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe_trainer(trainer: Trainer) -> dict[str, Any]:
  """What results tell of it: the parameter tensors' names, in order, and the bytes of a trial."""
  names = parameter_names(trainer.programs.held(*trainer.start_shapes()).variables["params"])
  return {"tensor_names": names, "bytes": trainer.num_bytes}


def _measures(options: RunOptions) -> Measures:
  return Measures(
    options.continuum,
    options.all_lengths,
    options.top_k,
    options.confusion_matrix,
    options.records_details,
    options.class_average,
  )


def _mean_image(stream: Stream, options: RunOptions) -> np.ndarray | None:
  """The mean of all training images, exact but for the last rounding; a few of them at a time."""
  if options.normalization != "mean_image":
    return None
  total, number = np.zeros(stream.spec.image_shape), 0
  for task in range(len(stream)):
    image = stream[task].train.image
    for first in range(0, len(image), _IMAGES_AT_ONCE):
      total += np.asarray(image[first : first + _IMAGES_AT_ONCE]).sum(axis=0, dtype=np.float64)
    number += len(image)
  return total / number


def _learner(stream, model, method_of, options, pretrained, axis_name, mean_image) -> Learner:
  try:
    return make_learner(
      model,
      method_of,
      stream.spec,
      max_value=stream.max_value,
      normalization=options.normalization,
      augmentation=options.augmentation,
      axis_name=axis_name,
      pretrained=pretrained,
      keeps=options.select_epoch == "best",
      mean_image=mean_image,
    )
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(str(error)) from error


def _check_model(model: Any, spec: StreamSpec, sizes: Sequence[int], options: RunOptions) -> Any:
  """Refuses a model that does not fit the stream; returns `tagjax.task_stacked` of it."""
  try:
    shapes, stacked = checked_model(model, spec)
    check_batch_statistics(
      model,
      spec,
      sizes,
      batch_size=options.batch_size,
      drop_last=options.drop_last,
      num_devices=options.data_parallel,
      shapes=shapes,
    )
  except (TypeError, ValueError) as error:
    raise ConfigError(f"model: {error}") from error
  return stacked


def _check_chosen(state: LearnerState, method: Method) -> None:
  """Refuses a searched network whose configuration nothing would choose."""
  if "sharing" in state.variables.get(ROUTING, {}) and ROUTING not in method.requires:
    raise ConfigError(
      f"model: its shared layers are to be searched (sharing={SEARCHED!r}), and "
      f"{method.name or 'the method'} does not search: add a method that does "
      "(docs/lifelong_architectures.md), or choose a configuration, such as sharing='all'"
    )


def _check_padding(model: Any, spec: StreamSpec, method: Method, options: RunOptions) -> None:
  """Refuses running averages that would count what the method fills batches up with."""
  try:
    check_padding_of_method(model, spec, method, drop_last=options.drop_last)
  except ValueError as error:
    raise ConfigError(f"model: {error}") from error


def _layout(one, method, spec, trials, options, besides, streamed) -> Layout:
  """As many trials together as are allowed and have room; memory is linear in them."""
  estimate = memory_estimate.foresee(one, method, spec, Layout(), **besides)
  room = memory_estimate.Room(
    _available(),
    lane=max(1, estimate.total - estimate.examples),
    examples=estimate.examples,
    shared=jax.default_backend() == "cpu",
  )
  return choose_layout(options, len(trials), room, streamed=streamed)


def _available() -> int | None:
  return available_memory(jax.local_devices()[0])


def _hyper_shapes(trial: Trial) -> Hyper:
  return {key: jax.ShapeDtypeStruct((), np.float32) for key in trial.hyper}


def _is_streamed(stream: Stream, part: str) -> bool:
  return stream.is_streamed(part) if hasattr(stream, "is_streamed") else False


def _training_examples(stream: Stream, options: RunOptions) -> Callable[[int], Any]:
  """What a task trains on; all tasks together in the protocol "joint"."""
  if options.protocol == "joint":
    return lambda task: benchmarks.TaskExamples.together(
      [stream[t].train for t in range(len(stream))]
    )
  return lambda task: stream[task].train
