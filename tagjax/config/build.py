"""What a driver works with, made from the config: the stream, its sizes, the programs."""

import functools
import sys

import jax
from ml_collections import ConfigDict

from tagjax import benchmarks
from tagjax.config import registry
from tagjax.core.errors import ConfigError
from tagjax.core.types import Variables
from tagjax.engine.learner import initial_variables, make_learner
from tagjax.engine.programs import Layout, Programs
from tagjax.engine.train_loop import DEVICE_AXIS
from tagjax.input_pipeline.augmentation import Augmentation
from tagjax.models.torch_weights import load_torch_weights
from tagjax.transforms import Columns


def load_stream(config: ConfigDict) -> benchmarks.Stream:
  """The stream that the config describes.

  Raises:
    ConfigError: if the benchmark refuses a setting.
  """
  try:
    stream = benchmarks.load_benchmark(
      config.benchmark,
      num_tasks=config.num_tasks,
      scenario=config.scenario,
      validation_fraction=config.validation_fraction,
      data_seed=config.data_seed,
      train_examples_per_task=config.train_examples_per_task,
      test_examples_per_task=config.test_examples_per_task,
      data_dir=config.data_dir,
      input=config.input,
      task_order=config.task_order,
      blurry_fraction=config.blurry_fraction,
      train_fraction=config.train_fraction,
      label_noise=config.label_noise,
      **{key: config[key] for key in benchmarks.OPTIONS},
    )
    return stream.part(config.first_task, config.end_task)
  except ValueError as error:
    raise ConfigError(f"config.{error}") from error


def training_sizes(config: ConfigDict, stream: benchmarks.Stream) -> list[int]:
  """Training examples of each task; in the protocol "joint" those of all tasks together."""
  sizes = [size[0] for size in stream.sizes]
  return [sum(sizes)] * len(sizes) if config.protocol == "joint" else sizes


def steps_per_epoch(config: ConfigDict, sizes: list[int]) -> list[int]:
  """Training steps of one epoch of each task.

  Raises:
    ConfigError: if `drop_last` leaves a task without a batch.
  """
  if not config.drop_last:
    return [-(-size // config.batch_size) for size in sizes]
  for task, size in enumerate(sizes):
    if size < config.batch_size:
      raise ConfigError(
        f"config.batch_size={config.batch_size} is more than the {size} training examples of "
        f"task {task}, and config.drop_last leaves none: choose a smaller batch"
      )
  return [size // config.batch_size for size in sizes]


def load_pretrained(config: ConfigDict, stream: benchmarks.Stream) -> Variables | None:
  """What the model starts with besides random values; says so if its head is not in it.

  Raises:
    ConfigError: if the model cannot take the stream's images, or the weights of the file.
  """
  model = registry.make_model(config, stream.spec)
  draw = functools.partial(initial_variables, model, stream.spec)
  try:
    like = jax.eval_shape(draw, jax.random.key(0))
  except ValueError as error:
    raise ConfigError(f"config.model={config.model!r}: {error}") from error
  if config.pretrained is None:
    return None
  try:
    weights = load_torch_weights(config.pretrained, like, model.torch_names())
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise ConfigError(f"config.pretrained={config.pretrained!r}: {reason}") from error
  if "head" not in weights["params"]:
    outputs = stream.spec.num_outputs
    print(f"pretrained: all but the head, of {outputs} outputs, which is new", file=sys.stderr)
  return weights


def build_programs(
  config: ConfigDict,
  stream: benchmarks.Stream,
  steps: list[int],
  layout: Layout,
  *,
  eval_batch_size: int,
  tolerant: bool = False,
  in_order: bool = False,
) -> Programs:
  """Model, method and learner, as compiled programs; the options are those of `Programs`.

  Raises:
    ConfigError: if the method or the model refuses its settings, or this stream.
  """
  pretrained = load_pretrained(config, stream)
  method_of = functools.partial(registry.make_method, config, stream.spec, steps)

  def learner(axis_name: str | None, columns: Columns):
    try:
      return make_learner(
        registry.make_model(config, stream.spec, axis_name),
        functools.partial(method_of, columns=columns),
        stream.spec,
        max_value=stream.max_value,
        normalization=config.normalization,
        augmentation=Augmentation(**config.augmentation),
        axis_name=axis_name,
        pretrained=pretrained,
      )
    except ConfigError:
      raise
    except ValueError as error:
      raise ConfigError(f"config.{error}") from error

  whole = Columns()
  shared = Columns(DEVICE_AXIS, layout.num_devices) if layout.share_columns else whole
  single = learner(None, whole)
  return Programs(
    learner(DEVICE_AXIS, shared) if layout.batch_devices > 1 else single,
    single,
    batch_size=config.batch_size,
    eval_batch_size=eval_batch_size,
    layout=layout,
    keep_going=tolerant,
    in_order=in_order,
  )
