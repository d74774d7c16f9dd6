"""How something is done for each of several batches: the one place that chooses.

Two ways. `map_over` is `vmap` or a loop, whichever the backend is better at. `factored` finds the
gradients of kernels as products of two thin matrices, so that under `vmap` the gradients of all
batches come out of a few large products, and no gradient of a batch is ever written down.

Milliseconds on two cores of an AMD EPYC (`python -m bench.mapping`), perceptron 784-256-256-100:

MEASURED
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.extend import core

_PASSED_ON = ("convert_element_type", "copy")


def map_over(function: Callable[[Any], Any], xs: chex.ArrayTree) -> chex.ArrayTree:
  """`function` of each row of `xs`, results stacked: one after another on a CPU, else `vmap`.

  XLA's CPU backend makes slow loops of batched products; an accelerator wants them batched.

  Args:
    function: pure; gets a tree like `xs` without the leading axis.
    xs: tree of arrays, all with the same leading axis.

  >>> map_over(lambda x: 2 * x, jnp.arange(3)).tolist()
  [0, 2, 4]
  """
  one_by_one = jax.default_backend() == "cpu"
  return jax.lax.map(function, xs) if one_by_one else jax.vmap(function)(xs)


class Thin(NamedTuple):
  """A matrix `left' right`.

  Attributes:
    left: float `[..., R, I]`.
    right: float `[..., R, O]`.
  """

  left: chex.Array
  right: chex.Array


def dense(thin: Thin) -> chex.Array:
  """The matrix itself, `[..., I, O]`."""
  return jnp.einsum("...ri,...ro->...io", *thin, precision=jax.lax.Precision.HIGHEST)


def is_thin(node: Any) -> bool:
  """Whether a node of a tree is a `Thin`, for the `is_leaf` of `jax.tree`."""
  return isinstance(node, Thin)


def map_gradients(function: Callable[[Any], chex.ArrayTree], xs: chex.ArrayTree) -> chex.ArrayTree:
  """The same for a function that calls `factored`: `vmap` wherever most of its result is thin.

  Args:
    function: see `map_over`; gives a tree in which some leaves are `Thin`.
    xs: see `map_over`.
  """
  found = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], xs))
  nodes = jax.tree.leaves(found, is_leaf=is_thin)
  thin = sum(node.left.shape[-1] * node.right.shape[-1] for node in nodes if is_thin(node))
  rest = sum(node.size for node in nodes if not is_thin(node))
  return jax.vmap(function)(xs) if thin > rest else map_over(function, xs)


def factored(function: Callable[[], chex.ArrayTree]) -> chex.ArrayTree:
  """The result of `function`, with `Thin` for each matrix that is one product of two.

  The gradient of a kernel `W` in `y = x W` is `x' d`, d the gradient of the outputs. For few
  examples x and d are much smaller than W, and sums, inner products and, of one example, squares
  and absolute values need only them. The product is looked for in the trace of `function`: what
  the model is made of does not matter, and a kernel used twice, or in a convolution, is an array.

  Args:
    function: gives a tree of arrays, such as a gradient.

  Returns:
    The tree; a `Thin` of `[R, I]` and `[R, O]` stands for an array `[I, O]`.

  >>> x, w = jnp.arange(6.0).reshape(2, 3), jnp.ones((3, 4))
  >>> found = factored(lambda: jax.grad(lambda w: jnp.sum(jnp.square(x @ w)))(w))
  >>> found.left.shape, found.right.shape
  ((2, 3), (2, 4))
  """
  closed, shapes = jax.make_jaxpr(function, return_shape=True)()
  jaxpr = closed.jaxpr
  makers = {id(variable): equation for equation in jaxpr.eqns for variable in equation.outvars}
  factors = [_factors(variable, makers) for variable in jaxpr.outvars]
  wanted = [
    variable
    for out, pair in zip(jaxpr.outvars, factors, strict=True)
    for variable in ([factor for factor, _ in pair] if pair else [out])
  ]
  cut = core.ClosedJaxpr(jaxpr.replace(outvars=wanted), closed.consts)
  values = iter(core.jaxpr_as_fun(cut)())
  leaves, structure = jax.tree.flatten(shapes)

  def take(leaf, pair):
    if pair is None:
      return next(values)
    return Thin(*(_rows_first(next(values), axis, leaf.dtype) for _, axis in pair))

  return jax.tree.unflatten(structure, map(take, leaves, factors))


def _factors(variable: Any, makers: dict[int, Any]) -> tuple | None:
  """The two matrices of `left' right`, each with the axis of its rows; None if it is not such."""
  turned = False
  while (equation := makers.get(id(variable))) is not None:
    name = equation.primitive.name
    if name == "dot_general":
      break
    if name not in (*_PASSED_ON, "transpose"):
      return None
    turned ^= name == "transpose" and equation.params["permutation"] == (1, 0)
    variable = equation.invars[0]
  if equation is None:
    return None
  (of_left, of_right), batched = equation.params["dimension_numbers"]
  is_matrix = all(factor.aval.ndim == 2 for factor in equation.invars)
  if not is_matrix or any(batched) or len(of_left) != 1:
    return None
  if any(isinstance(factor, core.Literal) for factor in equation.invars):
    return None
  pair = tuple(zip(equation.invars, (*of_left, *of_right), strict=True))
  return pair[::-1] if turned else pair


def _rows_first(matrix: chex.Array, axis: int, dtype: Any) -> chex.Array:
  return (matrix if axis == 0 else matrix.T).astype(dtype)
