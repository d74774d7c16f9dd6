"""The tables from the names in a config to what they stand for: optimizers, methods, models."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from tagjax.core.errors import ConfigError, nearest
from tagjax.core.method import Method, chain, lift
from tagjax.core.types import Hyper, StreamSpec
from tagjax.methods import (
  agem,
  der,
  der_plus_plus,
  er,
  er_ace,
  ewc,
  fresh_each_task,
  gem,
  lwf,
  mas,
  mas_local,
  naive,
  rwalk,
  si,
  tag_method,
)
from tagjax.models import (
  MLP,
  AlexNet,
  CifarAlexNet,
  LasemCNN,
  LeNet,
  ReducedResNet,
  ResNet18,
  RPSNet,
  resnet_b,
  resnet_s,
)
from tagjax.models.lasem_cnn import PRESETS as LASEM_PRESETS
from tagjax.transforms import Columns, stable_sgd


class MethodContext(NamedTuple):
  """What the factory of a method may use.

  Attributes:
    config: the whole config.
    spec: the stream's head.
    steps_per_epoch: training steps of one epoch, for each task.
    columns: which device holds which of TAG's columns.
  """

  config: ConfigDict
  spec: StreamSpec
  steps_per_epoch: tuple[int, ...]
  columns: Columns


MethodFactory = Callable[[MethodContext], Any]


def _naive(optimizer) -> MethodFactory:
  return lambda context: optimizer(context.config.learning_rate)


def _tag(base: str) -> MethodFactory:
  def make(context: MethodContext) -> Method:
    options = context.config.tag
    return tag_method(
      context.config.learning_rate,
      context.spec.num_tasks,
      b=options.b,
      base=base,
      bias_correction=options.bias_correction,
      accumulator_dtype=options.accumulator_dtype,
      columns=context.columns,
      steps_per_epoch=context.steps_per_epoch if options.bias_correction == "epoch" else None,
    )

  return make


def _stable_sgd(context: MethodContext) -> Any:
  options = context.config.stable_sgd
  return stable_sgd(
    context.config.learning_rate,
    decay=options.decay,
    floor=options.floor,
    momentum=options.momentum,
    reset=options.reset,
    steps_per_epoch=context.steps_per_epoch if options.reset == "epoch" else None,
  )


OPTIMIZERS: dict[str, MethodFactory] = {
  "sgd": _naive(naive.sgd),
  "rmsprop": _naive(naive.rmsprop),
  "adagrad": _naive(naive.adagrad),
  "adam": _naive(naive.adam),
  "stable_sgd": _stable_sgd,
  "tag": _tag("rmsprop"),
  "tag_rmsprop": _tag("rmsprop"),
  "tag_adagrad": _tag("adagrad"),
  "tag_adam": _tag("adam"),
}
"""Turn the gradient into a step; each chain ends in exactly one (plain SGD if none is named)."""


def _ewc(context: MethodContext) -> Method:
  options = context.config.ewc
  return ewc(
    options.strength,
    variant=options.variant,
    examples=options.examples or None,
    decay=options.decay,
    clip="auto" if options.clip is None else options.clip or None,
    spec=context.spec,
  )


def _mas(context: MethodContext) -> Method:
  options = context.config.mas
  return mas(
    options.strength,
    norm=options.norm,
    per_batch=options.per_batch,
    sequence=options.sequence,
    examples=options.examples or None,
    normalise=options.normalise,
    capacity=options.capacity,
    spec=context.spec,
  )


def _mas_local(context: MethodContext) -> Method:
  options = context.config.mas_local
  return mas_local(options.strength, examples=options.examples or None)


def _memory(context: MethodContext) -> dict[str, Any]:
  """The arguments that all methods with a memory share."""
  options = context.config.memory
  return {
    "capacity": options.capacity,
    "per": options.per,
    "batch_size": options.batch_size or context.config.batch_size,
  }


def _gem(context: MethodContext) -> Method:
  # It uses its whole memory in every step: no batch of exemplars is drawn.
  memory = {name: context.config.memory[name] for name in ("capacity", "per")}
  return gem(context.spec, **memory, **context.config.gem)


MODIFIERS: dict[str, MethodFactory] = {
  "ewc": _ewc,
  "mas": _mas,
  "mas_local": _mas_local,
  "si": lambda context: si(**context.config.si),
  "rwalk": lambda context: rwalk(**context.config.rwalk),
  "lwf": lambda context: lwf(spec=context.spec, **context.config.lwf),
  "er": lambda context: er(context.spec, **_memory(context), **context.config.er),
  "er_ace": lambda context: er_ace(context.spec, **_memory(context), **context.config.er),
  "der": lambda context: der(
    context.spec, **_memory(context), strength=context.config.der.strength
  ),
  "derpp": lambda context: der_plus_plus(context.spec, **_memory(context), **context.config.der),
  "agem": lambda context: agem(context.spec, **_memory(context)),
  "gem": _gem,
}
"""Change the gradient on its way to the optimizer: regularisers, replay, projection."""


class ModelContext(NamedTuple):
  """What the factory of a model may use.

  Attributes:
    config: the whole config.
    spec: the stream's head.
    axis_name: mapped axis of the devices that share a batch, or None.
  """

  config: ConfigDict
  spec: StreamSpec
  axis_name: str | None

  def common(self) -> dict[str, Any]:
    """Arguments that all models take."""
    dtype = jnp.dtype(self.config.compute_dtype)
    return {"num_outputs": self.spec.num_outputs, "compute_dtype": dtype}

  def dropped(self) -> dict[str, Any]:
    """Those of models that have one rate of dropout, off by default."""
    return self.common() | {"dropout": self.config.dropout}

  def normalised(self) -> dict[str, Any]:
    """Those of models with batch statistics."""
    return self.dropped() | {"axis_name": self.axis_name}


MODELS: dict[str, Callable[[ModelContext], nn.Module]] = {
  "mlp": lambda context: MLP(hidden=tuple(context.config.mlp.hidden), **context.dropped()),
  "lenet": lambda context: LeNet(**context.dropped()),
  "reduced_resnet": lambda context: ReducedResNet(
    width=context.config.reduced_resnet.width, **context.normalised()
  ),
  "resnet18": lambda context: ResNet18(**context.config.resnet18, **context.normalised()),
  "resnet_s": lambda context: resnet_s(**context.normalised()),
  "resnet_b": lambda context: resnet_b(**context.normalised()),
  "rps_net": lambda context: RPSNet(**context.normalised()),
  "alexnet": lambda context: AlexNet(**context.config.alexnet, **context.common()),
  "cifar_alexnet": lambda context: CifarAlexNet(
    dropout=tuple(context.config.cifar_alexnet.dropout),
    hidden_dropout=context.config.cifar_alexnet.hidden_dropout,
    **context.common(),
  ),
  "lasem_cnn": lambda context: LasemCNN(
    **LASEM_PRESETS[context.config.lasem_cnn.preset],
    dropout=context.config.lasem_cnn.dropout,
    **context.common(),
  ),
}

OWN_DROPOUT = {name: f"{name}.dropout" for name in ("alexnet", "cifar_alexnet", "lasem_cnn")}
"""Models to which dropout belongs, and the keys of its rates; `config.dropout` is of the others."""

PRETRAINABLE = frozenset({"resnet18", "alexnet"})
"""Models that can start from torchvision's weights."""

COMPUTE_DTYPES = ("float32", "bfloat16")
"""Of matrix products and convolutions. float16 is none of them: its gradients would underflow."""

CONVOLUTIONAL = frozenset(MODELS) - {"mlp"}
"""Models that are slower side by side than in turn on a CPU."""


def make_model(config: ConfigDict, spec: StreamSpec, axis_name: str | None = None) -> nn.Module:
  """The model that `config.model` names."""
  return MODELS[config.model](ModelContext(config, spec, axis_name))


def check_model(config: ConfigDict) -> None:
  """Refuses settings that the config's model does not have.

  Raises:
    ConfigError: one line that says what and why.
  """
  if config.dropout and config.model in OWN_DROPOUT:
    way_out = f"{config.model} has rates of its own; set config.{OWN_DROPOUT[config.model]}"
    _refuse("dropout", config.dropout, way_out)
  if config.pretrained is not None and config.model not in PRETRAINABLE:
    names = " or ".join(sorted(PRETRAINABLE))
    way_out = f"config.model={config.model!r} takes no weights from a file; choose {names}"
    _refuse("pretrained", config.pretrained, way_out)


TRACEABLE = frozenset(
  {
    "learning_rate",
    "tag.b",
    "stable_sgd.decay",
    "stable_sgd.floor",
    "ewc.strength",
    "mas.strength",
    "mas_local.strength",
    "si.strength",
    "si.damping",
    "rwalk.strength",
    "rwalk.decay",
    "rwalk.damping",
    "lwf.strength",
    "lwf.temperature",
    "er.strength",
    "der.strength",
    "der.label_strength",
    "gem.margin",
    "gem.eps",
  }
)
"""Keys of the config that may be inputs of the compiled programs: numbers that change no shape."""


def make_method(
  config: ConfigDict,
  spec: StreamSpec,
  steps_per_epoch: Iterable[int],
  hyper: Hyper | None = None,
  columns: Columns = Columns(),  # noqa: B008  (it is immutable)
) -> Method:
  """The chain that `config.method` spells, left to right.

  Args:
    config: the run's config.
    spec: the stream's head.
    steps_per_epoch: training steps of one epoch, for each task.
    hyper: takes the place of the config's values; keys of `TRACEABLE`, values may be traced.
    columns: of TAG's rows, if the devices that the step is mapped over share them.

  Raises:
    ConfigError: if a method refuses its settings, or this stream.
  """
  config = config.copy_and_resolve_references()
  with config.ignore_type():
    config.update_from_flattened_dict(hyper or {})
  context = MethodContext(config, spec, tuple(steps_per_epoch), columns)
  members = [_make_member(name, context) for name in method_names(config.method)]
  if config.fresh_optimizer:
    members[-1] = fresh_each_task(members[-1])
  return members[0] if len(members) == 1 else chain(*members)


def _make_member(name: str, context: MethodContext) -> Method:
  try:
    return lift((OPTIMIZERS | MODIFIERS)[name](context))
  except ValueError as error:
    raise ConfigError(f"{name} in config.method={context.config.method!r}: {error}") from error


def method_names(spelling: str) -> list[str]:
  """Splits `"ewc+tag"` into its names; adds the optimizer if none is named.

  Raises:
    ConfigError: on an unknown or repeated name, or an optimizer that is not the last.

  >>> method_names("tag")
  ['tag']
  """
  names = [name.strip() for name in spelling.split("+")]
  for name in names:
    check_name("method", name, OPTIMIZERS | MODIFIERS)
  optimizers = [name for name in names if name in OPTIMIZERS]
  if len(optimizers) > 1 or (optimizers and names[-1] not in OPTIMIZERS):
    raise ConfigError(
      f"config.method={spelling!r}: a chain has one optimizer, and it stands last "
      f"(the optimizers are {', '.join(OPTIMIZERS)})"
    )
  if repeated := sorted({name for name in names if names.count(name) > 1}):
    raise ConfigError(
      f"config.method={spelling!r}: {', '.join(repeated)} stands in it twice; "
      "set its strength or capacity instead"
    )
  return names if optimizers else [*names, "sgd"]


def ends_in_tag(spelling: str) -> bool:
  """Whether the optimizer of the chain is TAG, with one base or another."""
  return method_names(spelling)[-1].startswith("tag")


_ONE_OF_A_KIND = {
  frozenset({"agem", "gem"}): "the second projection undoes the first",
  frozenset({"er", "er_ace", "der", "derpp"}): "two reservoirs would replay the same past",
}


def check_combination(config: ConfigDict) -> None:
  """Refuses what can be spelt but has no meaning.

  Raises:
    ConfigError: one line that says what and why.
  """
  names = method_names(config.method)
  modifiers = [name for name in names if name in MODIFIERS]
  is_tag = ends_in_tag(config.method)
  for alike, reason in _ONE_OF_A_KIND.items():
    if len(alike & set(modifiers)) > 1:
      _refuse("method", config.method, f"{reason}; keep one of {', '.join(sorted(alike))}")
  if config.protocol != "sequential" and modifiers:
    _refuse(
      "protocol",
      config.protocol,
      f"leaves {'+'.join(modifiers)} nothing to protect; use an optimizer alone",
    )
  if config.protocol in ("joint", "independent") and is_tag:
    _refuse("protocol", config.protocol, "leaves TAG no past tasks; use its base optimizer")
  if config.protocol == "joint" and config.learning_curve_batches:
    _refuse("protocol", config.protocol, "learns no task by itself; no learning_curve_batches")
  if config.fresh_optimizer and is_tag:
    _refuse("fresh_optimizer", True, "would delete what TAG knows of past tasks")
  if config.tag.shard_rows and is_tag and config.data_parallel == 1:
    _refuse(
      "tag.shard_rows",
      True,
      "there is one device only to hold TAG's rows; set config.data_parallel as well",
    )


def _refuse(key: str, value: Any, reason: str) -> None:
  raise ConfigError(f"config.{key}={value!r}: {reason}")


def check_name(key: str, value: Any, options: Iterable[str]) -> None:
  """Refuses a value that is none of `options`.

  Raises:
    ConfigError: one line that names the key, the value, the nearest names and all names.
  """
  options = list(options)
  if value not in options:
    raise ConfigError(
      f"config.{key}={value!r} is unknown{nearest(value, options)}. There are: {', '.join(options)}"
    )
