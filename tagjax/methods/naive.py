"""The naive learners: one optimizer for the whole stream, as if there were no tasks.

Their state is not reset at task boundaries. The default constants are those of the TAG benchmark
(PyTorch's formulas: epsilon outside the square root, accumulators that start at 0), which are not
Optax's; the names of the options are.

References:
  Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
  CoLLAs 2022.
"""

import math
from typing import TypeAlias

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.register import register
from tagjax.transforms.checks import check_range, is_off

LearningRate: TypeAlias = optax.ScalarOrSchedule


@register("sgd", kind="optimizer", traced=("learning_rate",))
def sgd(
  learning_rate: LearningRate, *, momentum: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
  """Stochastic gradient descent: `p <- p - lr m`, where `m <- momentum m + g` starts at 0.

  Args:
    learning_rate: lr: number, scalar array, or schedule of the steps.
    momentum: weight of the past gradients' trace, in [0, 1); 0 keeps no trace.
    nesterov: whether the step is along `momentum m + g` instead of m.

  Returns:
    The optimizer.

  Raises:
    ValueError: for an argument out of range, or `nesterov` without momentum.
  """
  return optax.sgd(learning_rate, _momentum(momentum, nesterov), nesterov)


@register("rmsprop", kind="optimizer", traced=("learning_rate",))
def rmsprop(
  learning_rate: LearningRate,
  *,
  decay: float = 0.99,
  eps: float = 1e-8,
  eps_in_sqrt: bool = False,
  initial_scale: float = 0.0,
  centered: bool = False,
  momentum: float = 0.0,
  nesterov: bool = False,
  bias_correction: bool = False,
) -> optax.GradientTransformation:
  """RMSProp: `v <- decay v + (1 - decay) g^2`, `p <- p - lr g / (sqrt(v) + eps)`.

  TensorFlow 1's form, which LASEM was trained with, is `decay=0.9, eps=1e-10, eps_in_sqrt=True,
  initial_scale=1.0`.

  Args:
    learning_rate: lr: number, scalar array, or schedule of the steps.
    decay: share of the old v that is kept, in [0, 1).
    eps: added to the root; greater than 0.
    eps_in_sqrt: whether the root is of `v + eps`, and nothing is added to it.
    initial_scale: what v starts at; at least 0.
    centered: whether the mean gradient's square is subtracted from v: an estimate of the variance.
    momentum: weight of the past steps' trace, in [0, 1); 0 keeps no trace.
    nesterov: whether that momentum looks ahead.
    bias_correction: whether v is divided by `1 - decay^n` after n steps.

  Returns:
    The optimizer.

  Raises:
    ValueError: for an argument out of range, or `nesterov` without momentum.
  """
  check_range("decay", decay, 0.0, 1.0, "[0, 1)")
  check_range("eps", eps, 0.0, math.inf, "(0, inf)")
  check_range("initial_scale", initial_scale, 0.0, math.inf, "[0, inf)")
  return optax.rmsprop(
    learning_rate,
    decay=decay,
    eps=eps,
    initial_scale=initial_scale,
    eps_in_sqrt=eps_in_sqrt,
    centered=centered,
    momentum=_momentum(momentum, nesterov),
    nesterov=nesterov,
    bias_correction=bias_correction,
  )


@register("adam", kind="optimizer", traced=("learning_rate",))
def adam(
  learning_rate: LearningRate,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  eps_root: float = 0.0,
  nesterov: bool = False,
) -> optax.GradientTransformation:
  """Adam; its step counter runs over the whole stream.

  Args:
    learning_rate: lr: number, scalar array, or schedule of the steps.
    b1: decay of the first moment, in [0, 1).
    b2: decay of the second moment, in [0, 1).
    eps: added to the root of the second moment; greater than 0.
    eps_root: added inside the root; at least 0.
    nesterov: whether the first moment looks ahead (NAdam).

  Returns:
    The optimizer.

  Raises:
    ValueError: for an argument out of range.
  """
  check_range("b1", b1, 0.0, 1.0, "[0, 1)")
  check_range("b2", b2, 0.0, 1.0, "[0, 1)")
  check_range("eps", eps, 0.0, math.inf, "(0, inf)")
  check_range("eps_root", eps_root, 0.0, math.inf, "[0, inf)")
  return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps, eps_root=eps_root, nesterov=nesterov)


@register("adagrad", kind="optimizer", traced=("learning_rate",))
def adagrad(
  learning_rate: LearningRate, *, eps: float = 1e-10, initial_accumulator_value: float = 0.0
) -> optax.GradientTransformation:
  """Adagrad: `s <- s + g^2`, `p <- p - lr g / (sqrt(s) + eps)`.

  Differs from `optax.adagrad`, which starts s at 0.1 and adds epsilon inside the root.

  Args:
    learning_rate: lr: number, scalar array, or schedule of the steps.
    eps: added to the root; greater than 0.
    initial_accumulator_value: what s starts at; at least 0.

  Returns:
    The optimizer.

  Raises:
    ValueError: for an argument out of range.
  """
  check_range("eps", eps, 0.0, math.inf, "(0, inf)")
  start = initial_accumulator_value
  check_range("initial_accumulator_value", start, 0.0, math.inf, "[0, inf)")

  def init(params):
    sums = jax.tree.map(lambda p: jnp.full_like(p, start), params)
    return optax.ScaleByRssState(sum_of_squares=sums)

  def update(updates: chex.ArrayTree, state: optax.ScaleByRssState, params=None):
    del params
    total = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
    updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, total)
    return updates, optax.ScaleByRssState(sum_of_squares=total)

  return optax.chain(
    optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate)
  )


def _momentum(momentum: float, nesterov: bool) -> float | None:
  """The momentum as Optax wants it: None where no trace is to be kept."""
  check_range("momentum", momentum, 0.0, 1.0, "[0, 1)")
  if not is_off(momentum):
    return momentum
  if nesterov:
    raise ValueError(f"nesterov=True needs momentum, got momentum={momentum!r}")
  return None
