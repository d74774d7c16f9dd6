"""Floating-point operations of a program, by task, counted in what JAX has traced.

XLA's own count (`jax.stages.Lowered.cost_analysis`) takes each loop for one turn and of each
condition the dearest branch: a progressive network would cost the same for the first task as for
the last. So operations are counted in the jaxpr, from arguments of which some are known (the task's
number): where a condition follows from what is known, its branch is counted, and a loop as often as
it turns. Nothing is compiled for it, and nothing computed but these conditions.

Counted as XLA counts: a multiplication and an addition for each term of products and convolutions
(those within the padding not), one operation for each floating-point number that other operations
make, none for moving numbers. What nobody reads is not counted.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import numpy as np

Known = np.ndarray | None
"""The value of an array if it follows from what is known; an array of equal values has no memory of
its own."""

_SMALL = 256  # of arrays whose values differ, larger ones are not followed
_MOST_TURNS = 1000  # of a loop whose end must be found, turn by turn
_MOST_ALIKE = 64  # of a loop of known length, turn by turn; longer ones count one turn as often


def _quotient(a: Any, b: Any) -> Any:
  """`jax.lax.div`, which rounds integers towards 0."""
  return (a - np.fmod(a, b)) // b if np.issubdtype(a.dtype, np.integer) else a / b


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
  "add": operator.add,
  "sub": operator.sub,
  "mul": operator.mul,
  "neg": operator.neg,
  "sign": np.sign,
  "div": _quotient,
  "rem": np.fmod,
  "max": np.maximum,
  "min": np.minimum,
  "eq": operator.eq,
  "ne": operator.ne,
  "lt": operator.lt,
  "le": operator.le,
  "gt": operator.gt,
  "ge": operator.ge,
  "and": operator.and_,
  "or": operator.or_,
  "not": operator.invert,
  "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
  "convert_element_type": lambda x: x,
  "copy": lambda x: x,
}
_OF_EQUAL = {"reduce_and", "reduce_or", "reduce_max", "reduce_min"}
_MOVES = {
  "broadcast_in_dim",
  "concatenate",
  "convert_element_type",
  "copy",
  "dynamic_slice",
  "dynamic_update_slice",
  "gather",
  "iota",
  "pad",
  "reshape",
  "rev",
  "select_n",
  "slice",
  "split",
  "squeeze",
  "stop_gradient",
  "transpose",
}
_READS_MORE = ("reduce", "cum", "arg", "scatter", "select_and")
"""Operations that do as much as they read, not as they make."""


class Unknown:
  """Stands for an argument of which nothing is known."""


def count(jaxpr: Any, arguments: Sequence[Any]) -> float:
  """Operations of one call.

  Args:
    jaxpr: `jax.extend.core.ClosedJaxpr`.
    arguments: one for each of its inputs: its value, or `Unknown`.

  >>> jaxpr = jax.make_jaxpr(lambda a, n: jax.lax.fori_loop(0, n, lambda i, a: a @ a, a))(
  ...   np.ones((3, 3), np.float32), 0
  ... )
  >>> count(jaxpr, [Unknown, np.int32(2)]), count(jaxpr, [Unknown, Unknown])
  (108.0, 54.0)
  """
  known = [None if one is Unknown else np.asarray(one) for one in arguments]
  consts = [_small(const) for const in jaxpr.consts]
  try:
    total, _ = _count(jaxpr.jaxpr, consts, known, (True,) * len(jaxpr.jaxpr.outvars))
  finally:
    _alive.cache_clear()  # it holds the program, which would outlive its run
  return float(total)


def _count(
  jaxpr: Any, consts: Sequence[Known], arguments: Sequence[Known], used: tuple[bool, ...]
) -> tuple[float, list[Known]]:
  """Operations, and what is known of the outputs; those not `used` need not be computed."""
  values: dict[Any, Known] = dict(zip(jaxpr.constvars, consts, strict=True))
  values |= dict(zip(jaxpr.invars, arguments, strict=True))

  def read(atom) -> Known:
    return _small(atom.val) if hasattr(atom, "val") else values.get(atom)

  total = 0.0
  for eqn, own_use in _alive(jaxpr, used):
    operations, outputs = _equation(eqn, [read(atom) for atom in eqn.invars], own_use)
    total += operations
    values |= dict(zip(eqn.outvars, outputs, strict=True))
  return total, [read(atom) for atom in jaxpr.outvars]


@functools.lru_cache(maxsize=4096)
def _alive(jaxpr: Any, used: tuple[bool, ...]) -> list[tuple[Any, tuple[bool, ...]]]:
  """The equations whose outputs are read, each with which of them are."""
  pairs = zip(jaxpr.outvars, used, strict=True)
  read = {atom for atom, is_used in pairs if is_used and not hasattr(atom, "val")}
  alive = []
  for eqn in reversed(jaxpr.eqns):
    own = tuple(var in read for var in eqn.outvars)
    if any(own) or eqn.effects:
      alive.append((eqn, own))
      read |= {atom for atom in eqn.invars if not hasattr(atom, "val")}
  return alive[::-1]


def _equation(eqn: Any, inputs: list[Known], used: tuple[bool, ...]) -> tuple[float, list[Known]]:
  name, params = eqn.primitive.name, eqn.params
  if name == "cond":
    return _condition(params["branches"], inputs, used)
  if name == "while":
    return _loop(params, inputs)
  if name == "scan":
    return _scan(params, inputs)
  inner = _only_inner(params)
  if inner is not None and len(inner.jaxpr.invars) == len(inputs):
    consts = [_small(const) for const in inner.consts]
    return _count(inner.jaxpr, consts, inputs, used)
  return _operations(eqn), [_value(eqn, inputs)] if len(eqn.outvars) == 1 else [None] * len(used)


def _only_inner(params: dict[str, Any]) -> Any:
  """The jaxpr that a call calls, closed."""
  for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call"):
    inner = params.get(name)
    if hasattr(inner, "eqns"):  # of an open one
      return jax.extend.core.ClosedJaxpr(
        getattr(inner, "jaxpr", inner), getattr(inner, "consts", [])
      )
  return None


def _condition(branches, inputs, used) -> tuple[float, list[Known]]:
  index, *others = inputs

  def of(branch):
    return _count(branch.jaxpr, [_small(one) for one in branch.consts], others, used)

  if index is not None:
    return of(branches[int(np.clip(index, 0, len(branches) - 1))])
  return max((of(branch) for branch in branches), key=operator.itemgetter(0))[0], [None] * len(used)


def _loop(params, inputs) -> tuple[float, list[Known]]:
  """As many turns as follow from what is known; else one."""
  test, body = params["cond_jaxpr"], params["body_jaxpr"]
  first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
  of_test, of_body, carry = inputs[:first], inputs[first:second], inputs[second:]
  everything = (True,) * len(carry)

  def call(closed, arguments, used):
    consts = [_small(const) for const in closed.consts]
    return _count(closed.jaxpr, consts, arguments, used)

  total = 0.0
  for _ in range(_MOST_TURNS):
    own, (goes_on,) = call(test, [*of_test, *carry], (True,))
    if goes_on is None:
      break
    if not goes_on:
      return total, carry
    turn, carry = call(body, [*of_body, *carry], everything)
    total += own + turn
  if total:  # what decides is known no more
    return total, [None] * len(carry)
  turn, _ = call(body, [*of_body, *[None] * len(carry)], everything)
  return turn, [None] * len(carry)


def _scan(params, inputs) -> tuple[float, list[Known]]:
  """Each turn, if what it is given is known; else one turn as often."""
  closed, length = params["jaxpr"], params["length"]
  num_consts, num_carry = _parts_of_scan(params)
  consts, carry = inputs[:num_consts], inputs[num_consts : num_consts + num_carry]
  slices = inputs[num_consts + num_carry :]
  outputs = [None] * (len(closed.jaxpr.outvars) - num_carry)
  everything = (True,) * len(closed.jaxpr.outvars)
  own = [_small(const) for const in closed.consts]
  if all(one is None for one in (*carry, *slices)) or length > _MOST_ALIKE:
    nothing = [None] * (len(carry) + len(slices))
    turn, _ = _count(closed.jaxpr, own, [*consts, *nothing], everything)
    return length * turn, [None] * num_carry + outputs
  total = 0.0
  for index in range(length)[:: -1 if params["reverse"] else 1]:
    given = [None if one is None else one[index] for one in slices]
    turn, made = _count(closed.jaxpr, own, [*consts, *carry, *given], everything)
    total, carry = total + turn, made[:num_carry]
  return total, [*carry, *outputs]


def _parts_of_scan(params) -> tuple[int, int]:
  """How many inputs are constants, and how many are carried on; the others are sliced."""
  if "ft_in" in params:  # JAX 0.12; in 0.10 the numbers are told
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)
  return params["num_consts"], params["num_carry"]


def _small(value: Any) -> Known:
  """The value, if it is one to follow."""
  if not hasattr(value, "shape"):
    return np.asarray(value) if isinstance(value, bool | int | float) else None
  if value.size > _SMALL or jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
    return None
  return np.asarray(value)


def _value(eqn: Any, inputs: list[Known]) -> Known:
  """What is known of the output."""
  name, aval = eqn.primitive.name, eqn.outvars[0].aval
  shape = getattr(aval, "shape", None)
  if shape is None or jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
    return None
  if name in ("and", "or") and aval.dtype == bool:  # one of two may decide
    decides = name == "or"
    if any(one is not None and _is_equal(one) and _first(one) == decides for one in inputs):
      return np.broadcast_to(np.asarray(decides), shape)
  if name == "select_n" and inputs[0] is not None and _is_equal(inputs[0]):
    return inputs[1 + int(_first(inputs[0]))]
  if name == "gather" and inputs[0] is not None and _is_equal(inputs[0]):
    return np.broadcast_to(_first(inputs[0]), shape)
  if name == "dynamic_slice" and inputs[0] is not None and _is_equal(inputs[0]):
    return np.broadcast_to(_first(inputs[0]), shape)
  if any(one is None for one in inputs) or not inputs:
    return None
  given = [one for one in inputs if one is not None]
  if all(map(_is_equal, given)):
    value = _of_equal(name, [_first(one) for one in given])
    return None if value is None else np.broadcast_to(np.asarray(value, aval.dtype), shape)
  return _of_different(name, eqn.params, given, aval) if math.prod(shape) <= _SMALL else None


def _of_equal(name: str, values: list[Any]) -> Any:
  """The one value of the output, where each input has one."""
  if name in _ELEMENTWISE:
    with np.errstate(all="ignore"):
      return _ELEMENTWISE[name](*values)
  same = len({value.item() for value in values}) == 1
  return values[0] if same and (name in _OF_EQUAL or name in _MOVES - {"iota", "pad"}) else None


def _of_different(name: str, params, inputs: list[np.ndarray], aval) -> Known:
  """The output of a small array whose values differ."""
  first = inputs[0]
  if name in _ELEMENTWISE:
    with np.errstate(all="ignore"):
      value = _ELEMENTWISE[name](*inputs)
    return np.asarray(value, aval.dtype)
  if name in ("reshape", "squeeze"):
    return first.reshape(aval.shape)
  if name == "slice":
    strides = params["strides"] or (1,) * first.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return first[tuple(slice(*one) for one in bounds)]
  if name == "dynamic_slice":
    sizes = params["slice_sizes"]
    starts = [
      int(np.clip(start, 0, length - size))
      for start, length, size in zip(inputs[1:], first.shape, sizes, strict=True)
    ]
    return first[tuple(slice(a, a + size) for a, size in zip(starts, sizes, strict=True))]
  return None


def _is_equal(value: np.ndarray) -> bool:
  """Whether all its values are equal, for sure."""
  return value.size > 0 and (not any(value.strides) or bool((value == _first(value)).all()))


def _first(value: np.ndarray) -> Any:
  return value[(0,) * value.ndim]


def _operations(eqn: Any) -> float:
  """Of one equation without others within."""
  name = eqn.primitive.name
  outputs = [var.aval for var in eqn.outvars if _is_floating(var.aval)]
  if name in _MOVES or not outputs:  # products of integers among them
    return 0.0
  if name == "dot_general":
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2.0 * math.prod(outputs[0].shape) * math.prod(shape[axis] for axis in contracted)
  if name == "conv_general_dilated":
    return _convolution(eqn, outputs[0].shape)
  if name.startswith("reduce_window"):
    return float(math.prod(outputs[0].shape) * math.prod(eqn.params["window_dimensions"]))
  if name.startswith(_READS_MORE):
    return float(max(math.prod(getattr(atom.aval, "shape", ())) for atom in eqn.invars))
  return float(max(math.prod(one.shape) for one in outputs))


def _is_floating(aval: Any) -> bool:
  return jax.dtypes.issubdtype(getattr(aval, "dtype", np.int32), np.inexact)


def _convolution(eqn: Any, out_shape: tuple[int, ...]) -> float:
  """Two for each term that is not of the padding."""
  params = eqn.params
  lhs, rhs = (atom.aval.shape for atom in eqn.invars)
  lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
  terms = math.prod(
    _terms(
      lhs[lhs_spec[2 + axis]],
      rhs[rhs_spec[2 + axis]],
      out_shape[out_spec[2 + axis]],
      params["window_strides"][axis],
      params["padding"][axis][0],
      params["lhs_dilation"][axis],
      params["rhs_dilation"][axis],
    )
    for axis in range(len(lhs) - 2)
  )
  return 2.0 * out_shape[out_spec[0]] * out_shape[out_spec[1]] * rhs[rhs_spec[1]] * terms


@functools.lru_cache(maxsize=1024)
def _terms(size, kernel, out, stride, before, lhs_dilation, rhs_dilation) -> int:
  """Pairs of an output and an entry of the kernel that meet an input, along one axis."""
  place = np.arange(out)[:, None] * stride + np.arange(kernel)[None, :] * rhs_dilation - before
  inside = (place >= 0) & (place <= (size - 1) * lhs_dilation) & (place % lhs_dilation == 0)
  return int(inside.sum())
