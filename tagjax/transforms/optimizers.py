"""Every optimizer of Optax by its own name.

The table is made by looking into `optax` and `optax.contrib`; only what cannot work in a training
step is listed by hand, with the reason.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType

import optax
import optax.contrib

from tagjax.transforms.optax_options import text_options, with_options

REFUSED: Mapping[str, str] = MappingProxyType(
  {
    "lbfgs": "its line search needs value_fn, the loss as a function of the parameters",
    "sophia": "its estimate of the Hessian needs obj_fn, the loss as a function of the parameters",
    "dpsgd": "it needs the gradient of each example",
    "optimistic_adam": "it is deprecated: use optimistic_adam_v2",
    "schedule_free": "it wraps another optimizer: call it from Python",
    "schedule_free_adamw": "the parameters to be tested are not those that it trains",
    "schedule_free_sgd": "the parameters to be tested are not those that it trains",
  }
)
"""The optimizers of Optax that are not in the table, and why."""

_RATES = ("learning_rate", "max_learning_rate")
# Optax asks for a key, and takes an integer for one; its `seed` is the old name.
_KEY = inspect.Parameter("key", inspect.Parameter.KEYWORD_ONLY, default=0, annotation=int)


def optax_optimizers() -> dict[str, Callable[..., optax.GradientTransformation]]:
  """From its name in Optax to a function that makes the optimizer of its own arguments.

  An optimizer is what has a learning rate and is not a part of one (`scale_by_...`). The functions
  take the learning rate (a number, a traced scalar or a schedule), then Optax's arguments by name,
  with Optax's defaults, as far as text can express them: see `tagjax.transforms.optax_options`.
  Where a random key is asked for (`noisy_sgd`), it is the integer `key`, the same for all trials.

  Optax's `sgd`, `adam`, `rmsprop` and `adagrad` are in the table too, with Optax's constants;
  those of `tagjax.methods.naive` have PyTorch's.

  Returns:
    The table, in alphabetical order.

  Example:
    >>> optimizer = optax_optimizers()["adamw"](1e-3, weight_decay=1e-4)
    >>> isinstance(optimizer, optax.GradientTransformation)
    True
  """
  table = {}
  for name, function in sorted({**vars(optax.contrib), **vars(optax)}.items()):
    if name.startswith(("_", "scale_by_")) or name in REFUSED or not _is_optimizer(function):
      continue
    options = text_options(function)
    if "key" in options:
      options = {key: option for key, option in options.items() if key != "seed"} | {"key": _KEY}
    table[name] = with_options(function, name, options, lambda given, f=function: f(**given))
  return table


def _is_optimizer(function) -> bool:
  if not isinstance(function, FunctionType | functools.partial):  # nadam is a partial
    return False
  return any(rate in inspect.signature(function).parameters for rate in _RATES)
