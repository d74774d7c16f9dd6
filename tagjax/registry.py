"""The tables from the names in a config to what they stand for: optimizers, methods, models."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
from ml_collections import ConfigDict

from tagjax.base import Method, StreamSpec, chain, lift
from tagjax.errors import ConfigError, nearest
from tagjax.methods import naive, tag_method
from tagjax.models import MLP, ReducedResNet
from tagjax.transforms import stable_sgd


class MethodContext(NamedTuple):
  """What the factory of a method may use.

  Attributes:
    config: the whole config.
    spec: the stream's head.
    steps_per_epoch: training steps of one epoch, for each task.
  """

  config: ConfigDict
  spec: StreamSpec
  steps_per_epoch: tuple[int, ...]


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

MODIFIERS: dict[str, MethodFactory] = {}
"""Change the gradient on its way to the optimizer: regularisers, replay, projection."""

MODELS: dict[str, Callable[[ConfigDict, StreamSpec, str | None], nn.Module]] = {
  "mlp": lambda config, spec, axis_name: MLP(
    num_outputs=spec.num_outputs, hidden=tuple(config.mlp.hidden), dropout=config.dropout
  ),
  "reduced_resnet": lambda config, spec, axis_name: ReducedResNet(
    num_outputs=spec.num_outputs,
    width=config.reduced_resnet.width,
    dropout=config.dropout,
    axis_name=axis_name,
  ),
}


def make_model(config: ConfigDict, spec: StreamSpec, axis_name: str | None = None) -> nn.Module:
  """The model that `config.model` names."""
  return MODELS[config.model](config, spec, axis_name)


def make_method(config: ConfigDict, spec: StreamSpec, steps_per_epoch: Iterable[int]) -> Method:
  """The chain that `config.method` spells, left to right."""
  context = MethodContext(config, spec, tuple(steps_per_epoch))
  table = OPTIMIZERS | MODIFIERS
  members = [lift(table[name](context)) for name in method_names(config.method)]
  return members[0] if len(members) == 1 else chain(*members)


def method_names(spelling: str) -> list[str]:
  """Splits `"ewc+tag"` into its names; adds the optimizer if none is named.

  Raises:
    ConfigError: on an unknown name, or an optimizer that is not the last.

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
  return names if optimizers else [*names, "sgd"]


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
