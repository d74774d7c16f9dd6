"""Operations counted in a jaxpr, held against XLA's count and against explicit numbers."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.engine import flops
from tagjax.engine.flops import Unknown

A = jax.ShapeDtypeStruct((3, 3), jnp.float32)
PRODUCT = 2 * 3**3
N = jax.ShapeDtypeStruct((), jnp.int32)


def counted(function, known, *arguments):
  """`known`: the last argument."""
  jaxpr = jax.make_jaxpr(function)(*arguments)
  given = [Unknown] * (len(jaxpr.jaxpr.invars) - 1) + [known]
  return flops.count(jaxpr, given)


def convolve(image, kernel, **options):
  options = {"window_strides": (1, 1), "padding": "SAME", **options}
  return jax.lax.conv_general_dilated(
    image, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
  )


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"window_strides": (2, 3)},
    {"padding": ((0, 1), (2, 0))},
    {"rhs_dilation": (2, 1), "padding": "VALID"},
    {"lhs_dilation": (2, 2), "padding": ((2, 1), (1, 1))},
    {"feature_group_count": 2},
  ],
)
@pytest.mark.parametrize("differentiate", [False, True])
def test_products_and_convolutions_are_those_of_xla(options, differentiate):
  image = jax.ShapeDtypeStruct((2, 9, 7, 8), jnp.float32)
  inputs = 8 // options.get("feature_group_count", 1)
  kernel = jax.ShapeDtypeStruct((3, 3, inputs, 16), jnp.float32)

  def function(image, kernel):
    made = jnp.maximum(convolve(image, kernel, **options), 0)
    return jnp.sum(made.reshape(2, -1) @ jnp.ones((made[0].size, 5)))

  function = jax.grad(function, (0, 1)) if differentiate else function
  traced = jax.jit(function).trace(image, kernel)
  found = flops.count(traced.jaxpr, [Unknown] * 2)
  theirs = traced.lower().cost_analysis()["flops"]
  assert found == pytest.approx(theirs, rel=0.05)  # they count what moves numbers, partly


@pytest.mark.parametrize(("known", "products"), [(0, 1), (1, 3), (Unknown, 3)])
def test_a_condition_costs_its_branch_if_it_is_known_else_the_dearest(known, products):
  def function(a, n):
    chosen = jnp.full(4, n)[jnp.argmax(a[0])]  # whichever: they are all the same
    return jax.lax.cond(chosen > 0, lambda: a @ a @ a @ a, lambda: a @ a)

  known = known if known is Unknown else np.int32(known)
  assert counted(function, known, A, N) == pytest.approx(products * PRODUCT, abs=10)


@pytest.mark.parametrize(("known", "products"), [(0, 0), (4, 4), (Unknown, 1)])
def test_a_loop_turns_as_often_as_is_known_else_once(known, products):
  def function(a, n):
    return jax.lax.fori_loop(0, n, lambda turn, a: a @ a, a)

  assert counted(function, known if known is Unknown else np.int32(known), A, N) == (
    products * PRODUCT
  )


def test_a_loop_of_fixed_length_turns_as_often_and_knows_what_it_goes_through():
  def function(a, n):
    def turn(a, is_there):
      return jax.lax.cond(is_there, lambda: a @ a, lambda: a), None

    return jax.lax.scan(turn, a, jnp.arange(5) < n)[0]

  assert counted(function, Unknown, A, N) == 5 * PRODUCT

  def named(a, n):
    there = jnp.stack([n > 0, n > 1, n > 2])

    def turn(a, is_there):
      return jax.lax.cond(is_there, lambda: a @ a, lambda: a), None

    return jax.lax.scan(turn, a, there)[0]

  assert counted(named, Unknown, A, N) == 3 * PRODUCT


def test_integers_cost_nothing_and_are_divided_towards_0():
  def function(a, n):
    whole = a.astype(jnp.int32)
    return jax.lax.cond(jax.lax.div(n, 2) == 0, lambda: whole @ whole, lambda: (a @ a).astype(int))

  assert counted(function, np.int32(-1), A, N) == 0
  assert counted(function, np.int32(-2), A, N) == PRODUCT


def test_one_of_two_decides():
  """What of the batch is padding is not known, and need not be."""

  def function(a, mask, n):
    alone = jnp.all((jnp.full(4, n) == n) | mask)
    return jax.lax.cond(alone, lambda: a, lambda: a @ a)

  assert counted(function, np.int32(2), A, jax.ShapeDtypeStruct((4,), bool), N) == 0


def test_what_nobody_reads_costs_nothing():
  def function(a, n):
    (_, unused), made = jax.jit(lambda a: ((a @ a, a @ a @ a), a + n))(a)
    del unused
    return made

  assert counted(function, np.float32(2), A, jax.ShapeDtypeStruct((), jnp.float32)) == 9


def test_a_counted_program_does_not_outlive_its_run():
  constant = np.float32(2)
  program = jax.make_jaxpr(lambda a: constant * a @ a)(A)
  alive = weakref.ref(program.jaxpr)
  flops.count(program, [flops.Unknown])
  del program
  gc.collect()
  assert alive() is None
