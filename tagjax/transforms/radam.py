r"""RAdam: Adam whose first steps, of which the second moment is known badly, are not adaptive."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.register import register
from tagjax.transforms.checks import check_range

_THRESHOLD = 5.0  # of rho
# Of Langevin's function coth(x) - 1/x = x/3 - x^3/45 + ..., exact to 1e-16 below _SMALL.
_LANGEVIN = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875, 4 / 18243225)
_SMALL = 0.25


class ScaleByRadamState(NamedTuple):
  """State of `scale_by_radam`.

  Attributes:
    count: int32 scalar, steps taken.
    mu: tree like params, first moment.
    nu: tree like params, second moment.
  """

  count: chex.Array
  mu: optax.Updates
  nu: optax.Updates


def scale_by_radam(
  b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
  r"""The direction of RAdam, in the form of its authors' code.

  In step k = 1, 2, ...

      m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
      rho = rho_inf - 2 k b2^k / (1 - b2^k)          rho_inf = 2 / (1 - b2) - 1
      c = sqrt((1 - b2^k) (rho - 4)/(rho_inf - 4) (rho - 2)/rho rho_inf/(rho_inf - 2))
      u = c / (1 - b1^k) m / (sqrt(v) + eps)         if rho >= 5     (k >= 6 for b2 = 0.999)
      u = m / (1 - b1^k)                             else

  Differs from `optax.scale_by_radam`: there epsilon is added to the root of the corrected v, and
  rho is a difference of two numbers near 2000, of which float32 keeps three digits: its sixth step
  is 1.2 % too short. Here, with `a = -ln b2` and Langevin's `L(x) = coth x - 1/x`,
  `rho = k + L(a/2) - k L(k a/2)`, in which nothing large cancels.

  Args:
    b1: decay of the first moment, in [0, 1).
    b2: decay of the second moment, in (0, 1).
    eps: added to the root of the second moment, greater than 0.

  Returns:
    The transformation, without a learning rate; state: `ScaleByRadamState`.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> transform = scale_by_radam()
    >>> updates, _ = transform.update(jnp.full(2, 3.0), transform.init(jnp.zeros(2)))
    >>> print(updates.round(4))
    [3. 3.]

  References:
    Liu, Jiang, He, Chen, Liu, Gao, Han. On the Variance of the Adaptive Learning Rate and Beyond.
    ICLR 2020, arXiv:1908.03265.
  """
  check_range("b1", b1, 0.0, 1.0, "[0, 1)")
  check_range("b2", b2, 0.0, 1.0, "(0, 1)")
  check_range("eps", eps, 0.0, math.inf, "(0, inf)")

  def init(params: optax.Params) -> ScaleByRadamState:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return ScaleByRadamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

  def update(updates: optax.Updates, state: ScaleByRadamState, params=None):
    del params
    count = optax.safe_increment(state.count)
    mu = optax.tree.update_moment(updates, state.mu, b1, 1)
    nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
    is_adaptive, adaptive, plain = _factors(count, b1, b2)

    def direction(m, v):
      step = (adaptive * m / (jnp.sqrt(v) + eps)).astype(m.dtype)
      return jnp.where(is_adaptive, step, (plain * m).astype(m.dtype))

    return jax.tree.map(direction, mu, nu), ScaleByRadamState(count, mu, nu)

  return optax.GradientTransformation(init, update)


@register("radam", kind="optimizer", traced=("learning_rate",))
def radam(
  learning_rate: optax.ScalarOrSchedule,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """RAdam in its authors' form: `p <- p - lr u`, with the u of `scale_by_radam`.

  It takes the place of `optax.radam` on the command line, see `scale_by_radam` for the differences.

  Args:
    learning_rate: lr: number, scalar array, or schedule of the steps.
    b1: decay of the first moment, in [0, 1).
    b2: decay of the second moment, in (0, 1).
    eps: added to the root of the second moment, greater than 0.

  Returns:
    The optimizer.

  Raises:
    ValueError: for an argument out of range.
  """
  return optax.chain(scale_by_radam(b1, b2, eps), optax.scale_by_learning_rate(learning_rate))


def _factors(count: chex.Array, b1: float, b2: float) -> tuple[chex.Array, chex.Array, chex.Array]:
  """Whether the step is adaptive, and the factor of each kind."""
  k = count.astype(jnp.result_type(float))
  limit = 2 / (1 - b2) - 1
  rho = _rho(k, b2)
  is_adaptive = rho >= _THRESHOLD
  known = jnp.where(is_adaptive, rho, _THRESHOLD)  # no root of a negative number
  rectified = (known - 4) / (limit - 4) * (known - 2) / known * (limit / (limit - 2))
  first = 1.0 if b1 == 0 else -jnp.expm1(k * math.log(b1))
  second = -jnp.expm1(k * math.log(b2))
  return is_adaptive, jnp.sqrt(second * rectified) / first, 1 / first


def _rho(k: chex.Array, b2: float) -> chex.Array:
  """`rho_inf - 2 k b2^k / (1 - b2^k)` without cancellation."""
  a = -math.log(b2)
  x = k * (a / 2)
  small = jnp.minimum(x, _SMALL)
  series = small * jnp.polyval(jnp.asarray(_LANGEVIN[::-1], k.dtype), small * small)
  own = 1 / math.tanh(a / 2) - 2 / a
  large = jnp.maximum(x, _SMALL)
  return jnp.where(
    x < _SMALL, k + own - k * series, 2 / (1 - b2) - 1 - 2 * k / jnp.expm1(2 * large)
  )
