"""Every setting of a run with its default, and the validator."""

import json
import math
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict

from tagjax import benchmarks
from tagjax.base import SCENARIOS
from tagjax.datasets.loader import INPUTS
from tagjax.errors import ConfigError, TagjaxError, nearest
from tagjax.grid import Point, check_sweep, flat_items, grid_points
from tagjax.memory.capacity import PER as MEMORY_PER
from tagjax.memory.reservoir import VARIANTS as RESERVOIR_VARIANTS
from tagjax.methods.ewc import VARIANTS as EWC_VARIANTS
from tagjax.methods.mas import NORMALISATIONS as MAS_NORMALISATIONS
from tagjax.methods.mas import NORMS as MAS_NORMS
from tagjax.methods.mas import SEQUENCES as MAS_SEQUENCES
from tagjax.metrics.matrix import DEFINITIONS as FORGETTING_DEFINITIONS
from tagjax.models.lasem_cnn import PRESETS as LASEM_PRESETS
from tagjax.models.resnet18 import STEMS as RESNET_STEMS
from tagjax.pixels import NORMALIZATIONS
from tagjax.plan import PROTOCOLS
from tagjax.registry import (
  COMPUTE_DTYPES,
  MODELS,
  check_combination,
  check_model,
  check_name,
  method_names,
)
from tagjax.transforms.tag import ACCUMULATOR_DTYPES


def base_config() -> ConfigDict:
  """The base of every config file; all keys with their defaults."""
  c = ConfigDict()

  # The stream of tasks.
  c.benchmark = "permuted_digits"  # a name of tagjax.benchmarks.names()
  c.scenario = config_dict.placeholder(str)  # "task", "class" or "domain"; None: the benchmark's
  c.num_tasks = config_dict.placeholder(int)  # None: the benchmark's
  c.classes = config_dict.placeholder(object)  # which are used: 100 (the first), "15-99"; None: all
  c.class_order = _anything("natural")  # or "seeded" (by data_seed), "lasem", or classes: (3, 1)
  c.classes_per_task = config_dict.placeholder(object)  # 5, or each task's: (50, 10); None: equal
  c.task_order = config_dict.placeholder(object)  # "0-4, 0-9": tasks may come again; None: once
  c.blurry_fraction = 0.0  # of each task's training examples, exchanged with the other tasks
  c.train_fraction = 1.0  # of each class's training examples, that is used at all
  c.label_noise = 0.0  # fraction of the training labels that are wrong
  c.data_seed = 0  # splits, permutations, angles: the same for every seed of the run
  c.data_dir = config_dict.placeholder(str)  # None: $TFDS_DATA_DIR, or ~/tensorflow_datasets
  c.input = "auto"  # images in "memory", or a "stream" from the files; "auto": by their size
  c.validation_fraction = 0.0  # of each task's training examples, set aside
  c.evaluate_on = "test"  # "test" or "validation" (choose hyperparameters on the latter)
  c.train_examples_per_task = config_dict.placeholder(int)  # None: all
  c.test_examples_per_task = config_dict.placeholder(int)  # None: all
  c.image_folders = config_dict.placeholder(str)  # benchmark "image_folders": a folder of tasks
  c.image_size = config_dict.placeholder(int)  # of streams of several data sets; None: their own
  c.image_resize = "stretch"  # images of your own folders: "stretch", or "crop" what overhangs
  c.test_fraction = 0.2  # of your own folders that have no test images
  c.first_task = 0  # leave the tasks before it out, such as those that chose the hyperparameters
  c.end_task = config_dict.placeholder(int)  # and those from it on; None: none
  c.normalization = "unit"  # pixels: "unit" [0, 1], "signed" [-1, 1], ...: tagjax/pixels.py
  c.augmentation = ConfigDict()  # random changes of training images, in this order
  c.augmentation.crop = 0  # pixels by which they are shifted at most
  c.augmentation.flip = False  # half of them are mirrored, left to right
  c.augmentation.rotation = 0.0  # degrees by which they are turned at most
  c.augmentation.colour = 0.0  # brightness, contrast, saturation change by this fraction at most

  # The model.
  c.model = "mlp"  # a name of tagjax.registry.MODELS, such as "reduced_resnet", "resnet18"
  c.dropout = 0.0  # probability of dropping a unit, of models without rates of their own below
  c.pretrained = config_dict.placeholder(str)  # torchvision's file of "resnet18" or "alexnet"
  c.compute_dtype = "float32"  # of products and convolutions; "bfloat16": mixed precision
  c.mlp = ConfigDict()
  c.mlp.hidden = (256, 256)  # widths of the hidden layers
  c.reduced_resnet = ConfigDict()
  c.reduced_resnet.width = 20  # filters of the first stage
  c.resnet18 = ConfigDict()
  c.resnet18.width = 64  # filters of the first stage
  c.resnet18.stem = "imagenet"  # "imagenet", "unpooled", or "cifar" for small images
  c.alexnet = ConfigDict()
  c.alexnet.dropout = 0.5  # before each hidden linear layer
  c.cifar_alexnet = ConfigDict()
  c.cifar_alexnet.dropout = (0.2, 0.2, 0.5)  # after each convolution
  c.cifar_alexnet.hidden_dropout = 0.5  # after each hidden linear layer
  c.lasem_cnn = ConfigDict()
  c.lasem_cnn.preset = "cifar"  # "cifar", "office_home", "stl10", or deeper: see its PRESETS
  c.lasem_cnn.dropout = 0.5  # of the features after the convolutions

  # The method: names joined by "+", left to right in the chain, such as "tag_adam".
  c.method = "tag"
  c.learning_rate = 0.001
  c.tag = ConfigDict()
  c.tag.b = 5.0  # sharpness of the weights exp(-b cos)
  c.tag.bias_correction = "task"  # tag_adam's step counter restarts each "task" or "epoch"
  c.tag.accumulator_dtype = "float32"  # moments of past tasks; "bfloat16" halves TAG's state
  c.tag.shard_rows = False  # with data_parallel=D: each device holds 1/D of TAG's state
  c.stable_sgd = ConfigDict()
  c.stable_sgd.decay = 1.0  # gamma: the learning rate of task t is lr * gamma^(t+1)
  c.stable_sgd.floor = 5e-5  # but at least this
  c.stable_sgd.momentum = 0.0
  c.stable_sgd.reset = "task"  # the momentum restarts each "task" or "epoch"
  c.fresh_optimizer = False  # the optimizer's state starts anew for each task

  # Regularisers: the gradient of strength * sum(importance * (params - anchor)^2) is added.
  c.ewc = ConfigDict()
  c.ewc.strength = 1.0
  c.ewc.variant = "fixed"  # "fixed", "tag-ref" (with the reference's mask bug) or "standard"
  c.ewc.examples = 200  # of each task, for its importance; 0: all
  c.ewc.decay = 1.0  # of older importance, variant "standard"
  c.ewc.clip = config_dict.placeholder(float)  # norm of the pull; None: the variant's; 0: none
  c.mas = ConfigDict()
  c.mas.strength = 1.0
  c.mas.norm = "L2"  # of the outputs: "L2" (squared), "L1" or "vector"
  c.mas.per_batch = False  # absolute values of batches' gradients instead of examples'
  c.mas.sequence = "accumulate"  # importance: "accumulate", of the "last" task, or "recompute"
  c.mas.capacity = 200  # exemplars kept of each task, for "recompute"
  c.mas.examples = 0  # of each task; 0: all
  c.mas.normalise = "none"  # importance: "none", or divided by its "max" or "mean"
  c.mas_local = ConfigDict()
  c.mas_local.strength = 1.0
  c.mas_local.examples = 0  # of each task; 0: all
  c.si = ConfigDict()
  c.si.strength = 0.1
  c.si.damping = 1e-3  # added to the squared distance that each parameter went
  c.rwalk = ConfigDict()
  c.rwalk.strength = 1.0
  c.rwalk.decay = 0.9  # of the running Fisher
  c.rwalk.damping = 1e-3
  c.rwalk.update_every = 50  # steps
  c.rwalk.legacy = False  # the averaging of the A-GEM repository
  c.lwf = ConfigDict()  # distillation from the network of the last task's end
  c.lwf.strength = 1.0
  c.lwf.temperature = 2.0

  # Exemplars of past tasks, for replay and projection.
  c.memory = ConfigDict()
  c.memory.capacity = 1  # exemplars kept
  c.memory.per = "class"  # for each "class" of each task, or in "total"
  c.memory.batch_size = config_dict.placeholder(int)  # replayed a step; None: batch_size
  c.er = ConfigDict()  # for er and er_ace
  c.er.strength = 1.0
  c.er.variant = "item"  # reservoir: per "item", or per batch as the "reference"
  c.der = ConfigDict()  # for der and derpp
  c.der.strength = 0.5  # of the distance to the stored logits
  c.der.label_strength = 0.5  # of the replayed labels; derpp only
  c.gem = ConfigDict()
  c.gem.margin = 0.5  # least weight of a violated constraint
  c.gem.eps = 1e-3  # added to the diagonal of the dual problem

  # Training.
  c.protocol = "sequential"  # or as bounds "multitask", "joint", "independent": tagjax.plan.visits
  c.cycles = 6  # rounds through all tasks, protocol "multitask"
  c.epochs = 1  # a task
  c.batch_size = 10  # over all devices
  c.drop_last = False  # drop a task's last, smaller batch
  c.data_parallel = 1  # devices, of all processes, that share each batch
  c.seeds = 1  # runs of the whole stream, with seeds seed, seed + 1, ...
  c.seed_axis = "auto"  # seeds side by side ("vmap"), in turn ("loop"), shared out to "devices"
  c.seeds_together = config_dict.placeholder(int)  # most of them side by side; None: what has room
  c.seed = 1  # initialisation, order of the examples, dropout

  # Grids: every point is trained with every seed, the best is chosen on validation examples.
  c.sweep = config_dict.placeholder(object)  # such as {"learning_rate": [0.1, 0.01], "tag.b": [3]}
  c.sweep_tasks = config_dict.placeholder(int)  # train on the first so many tasks only; None: all

  # Evaluation.
  c.eval_batch_size = 256  # at most; the passes over a task are equally large
  c.evaluate_future_tasks = False  # also on tasks not seen yet, for forward transfer
  c.learning_curve_batches = 0  # evaluate each task before its first so many minibatches
  c.forgetting = "agem"  # definition: "agem", "tag" or "diagonal"

  # Keeping.
  c.checkpoint_every = 1000  # steps, besides the end of each task; 0: only there
  c.keep_checkpoints = 2
  c.chunk_steps = 100  # steps of one compiled call, between two lines of progress
  c.plots = True  # write the pictures
  return c


def _anything(default: Any) -> config_dict.FieldReference:
  """A key that takes values of several types, such as a name or a sequence of numbers."""
  return config_dict.FieldReference(default, field_type=object)


def validate(config: ConfigDict) -> None:
  """Checks every key that can be checked before data are loaded.

  Raises:
    ConfigError: one line that names the key, its value and what is possible.
  """
  _known_keys(config, base_config())
  check_name("benchmark", config.benchmark, benchmarks.names())
  check_name("model", config.model, MODELS)
  method_names(config.method)
  for key, options in (
    ("normalization", NORMALIZATIONS),
    ("input", INPUTS),
    ("evaluate_on", ("test", "validation")),
    ("compute_dtype", COMPUTE_DTYPES),
    ("forgetting", FORGETTING_DEFINITIONS),
    ("tag.bias_correction", ("task", "epoch")),
    ("tag.accumulator_dtype", ACCUMULATOR_DTYPES),
    ("stable_sgd.reset", ("task", "epoch")),
    ("protocol", PROTOCOLS),
    ("ewc.variant", EWC_VARIANTS),
    ("mas.norm", MAS_NORMS),
    ("mas.sequence", MAS_SEQUENCES),
    ("mas.normalise", MAS_NORMALISATIONS),
    ("memory.per", MEMORY_PER),
    ("er.variant", RESERVOIR_VARIANTS),
    ("resnet18.stem", RESNET_STEMS),
    ("lasem_cnn.preset", LASEM_PRESETS),
  ):
    check_name(key, _get(config, key), options)
  if config.scenario is not None:
    check_name("scenario", config.scenario, SCENARIOS)
  for key, least in _LEAST.items():
    value = _get(config, key)
    if value is not None and value < least:
      raise ConfigError(f"config.{key}={value!r}: must be at least {least}")
  check_name("seed_axis", config.seed_axis, ("auto", "vmap", "loop", "devices"))
  if config.seed_axis == "devices" and config.data_parallel > 1:
    raise ConfigError(
      f"config.seed_axis='devices' leaves no devices to config.data_parallel="
      f"{config.data_parallel}: choose one of the two"
    )
  _ranges(config)
  _check_stream(config)
  check_model(config)
  check_combination(config)
  if config.sweep:
    check_sweep(config)
    for point in grid_points(config.sweep):
      validate(at_point(config, point))
  elif config.sweep_tasks:
    raise ConfigError(f"config.sweep_tasks={config.sweep_tasks}: there is no config.sweep")


_LEAST = {
  "num_tasks": 1,
  "augmentation.crop": 0,
  "first_task": 0,
  "end_task": 1,
  "sweep_tasks": 1,
  "data_seed": 0,
  "train_examples_per_task": 1,
  "test_examples_per_task": 1,
  "reduced_resnet.width": 1,
  "resnet18.width": 1,
  "epochs": 1,
  "batch_size": 1,
  "data_parallel": 1,
  "seeds": 1,
  "seeds_together": 1,
  "seed": 0,
  "eval_batch_size": 1,
  "learning_curve_batches": 0,
  "checkpoint_every": 0,
  "keep_checkpoints": 1,
  "chunk_steps": 1,
  "stable_sgd.floor": 0,
  "tag.b": 0,
  "cycles": 1,
  "ewc.strength": 0,
  "ewc.examples": 0,
  "ewc.clip": 0,
  "mas.strength": 0,
  "mas.capacity": 1,
  "mas.examples": 0,
  "mas_local.strength": 0,
  "mas_local.examples": 0,
  "si.strength": 0,
  "rwalk.strength": 0,
  "rwalk.update_every": 1,
  "lwf.strength": 0,
  "memory.capacity": 0,
  "memory.batch_size": 1,
  "er.strength": 0,
  "der.strength": 0,
  "der.label_strength": 0,
  "gem.margin": 0,
  "gem.eps": 0,
}


def _ranges(config: ConfigDict) -> None:
  for key in (
    "dropout",
    "validation_fraction",
    "blurry_fraction",
    "label_noise",
    "stable_sgd.momentum",
  ):
    value = _get(config, key)
    if not 0 <= value < 1:
      raise ConfigError(f"config.{key}={value!r}: must be in [0, 1)")
  for key in (
    "learning_rate",
    "stable_sgd.decay",
    "si.damping",
    "rwalk.damping",
    "lwf.temperature",
  ):
    value = _get(config, key)
    if not (value > 0 and math.isfinite(value)):
      raise ConfigError(f"config.{key}={value!r}: must be positive and finite")
  if not 0 <= config.augmentation.rotation <= 180:
    value = config.augmentation.rotation
    raise ConfigError(f"config.augmentation.rotation={value!r}: must be in degrees, 0 to 180")
  if not 0 <= config.augmentation.colour <= 1:
    raise ConfigError(
      f"config.augmentation.colour={config.augmentation.colour!r}: must be in [0, 1]"
    )
  for key in ("train_fraction", "rwalk.decay"):
    value = _get(config, key)
    if not 0 < value <= 1:
      raise ConfigError(f"config.{key}={value!r}: must be in (0, 1]")
  if not 0 <= config.ewc.decay <= 1:
    raise ConfigError(f"config.ewc.decay={config.ewc.decay!r}: must be in [0, 1]")
  for key in ("alexnet.dropout", "cifar_alexnet.hidden_dropout", "lasem_cnn.dropout"):
    if not 0 <= _get(config, key) < 1:
      raise ConfigError(f"config.{key}={_get(config, key)!r}: must be in [0, 1)")
  rates = config.cifar_alexnet.dropout
  if len(rates) != 3 or not all(0 <= rate < 1 for rate in rates):
    raise ConfigError(f"config.cifar_alexnet.dropout={rates!r}: give three rates in [0, 1)")
  if not all(isinstance(width, int) and width > 0 for width in config.mlp.hidden):
    raise ConfigError(f"config.mlp.hidden={config.mlp.hidden!r}: widths must be positive integers")
  if config.evaluate_on == "validation" and config.validation_fraction == 0:
    raise ConfigError(
      "config.evaluate_on='validation' needs examples: set config.validation_fraction, say to 0.1"
    )
  if config.batch_size % config.data_parallel:
    raise ConfigError(
      f"config.batch_size={config.batch_size} cannot be shared by "
      f"config.data_parallel={config.data_parallel} devices: choose a multiple of it"
    )


def _check_stream(config: ConfigDict) -> None:
  """Refuses what the benchmark has no use for, before its data are loaded."""
  try:
    benchmarks.check_options(
      config.benchmark, config.task_order, {key: config[key] for key in benchmarks.OPTIONS}
    )
  except ValueError as error:
    raise ConfigError(f"config.{error}") from error


def at_point(config: ConfigDict, point: Point) -> ConfigDict:
  """A copy of `config`, without its grid, that holds the values of `point`.

  Raises:
    ConfigError: if a value is of the wrong type.
  """
  result = base_config()  # ConfigDict's own copies refuse the grid, whose keys have dots
  values = {key: value for key, value in flat_items(config).items() if not key.startswith("sweep")}
  for key, value in (values | point).items():
    try:
      result.update_from_flattened_dict({key: tuple(value) if isinstance(value, list) else value})
    except (TypeError, ValueError) as error:
      raise ConfigError(f"config.sweep: {key}={value!r} is of the wrong type: {error}") from error
  return result


def _known_keys(config: ConfigDict, base: ConfigDict, prefix: str = "") -> None:
  for key, value in config.items():
    if key not in base:
      raise ConfigError(f"config.{prefix}{key} is no key of the config{nearest(key, base.keys())}")
    if isinstance(value, ConfigDict):
      _known_keys(value, base[key], f"{prefix}{key}.")


def flag_error(argv: list[str], error: BaseException) -> str:
  """One line for what the flags parser raised.

  ml_collections raises a bare AttributeError for an unknown key, and puts the traceback of what
  a config file raises into the text of its error.
  """
  keys = [re.match(r"--?config\.([\w.]+)", argument) for argument in argv]
  for key in (match[1] for match in keys if match):
    place = base_config()
    for part in key.split("."):
      if not isinstance(place, ConfigDict) or part not in place:
        options = place.keys() if isinstance(place, ConfigDict) else ()
        return f"config.{key} is no key of the config{nearest(part, options)}"
      place = place[part]
  if isinstance(error, flags.Error) and "\n" not in str(error):
    return str(error)
  while error.__cause__ or error.__context__:
    error = error.__cause__ or error.__context__
  kind = "" if isinstance(error, TagjaxError | OSError) else f"{type(error).__name__}: "
  return f"cannot load --config: {kind}{' '.join(str(error).split())}"


def _get(config: ConfigDict, key: str) -> Any:
  for part in key.split("."):
    config = config[part]
  return config


def to_dict(config: ConfigDict) -> dict[str, Any]:
  """The config as plain JSON values."""
  return json.loads(json.dumps(config.to_dict()))
