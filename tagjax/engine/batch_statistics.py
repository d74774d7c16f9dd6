"""Whether a model's running statistics stay right where a batch has padding rows, or is shared.

BatchNorm of Flax (Linen and NNX) counts all rows of a batch, those that only fill it up too, and
those of its own device only. That is right exactly where every batch is full and one device holds
it, or the layer knows the axis of devices.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from tagjax.core.method import Method, rehearses
from tagjax.core.types import StreamSpec, Variables
from tagjax.engine.model import as_model, image_dtype, takes_axis_name, variable_shapes

_ROWS = 3


def counts_padding(model: Any, spec: StreamSpec) -> bool:
  """Whether training changes a variable by the images of a batch without regard to its mask.

  Read off the trace of a training pass: a leaf of a collection other than "params" depends on the
  images and does not depend on the mask.

  Args:
    model: whatever `tagjax.engine.model.as_model` takes.
    spec: the stream's shapes.
  """
  return bool(_moved_by_images(model, spec) - _moved_by(model, spec, "mask"))


def check_batch_statistics(
  model: Any,
  spec: StreamSpec,
  sizes: Sequence[int],
  *,
  batch_size: int,
  drop_last: bool,
  num_devices: int = 1,
  shapes: Variables | None = None,
) -> None:
  """Refuses a model whose batch statistics would be wrong in this run.

  What the method makes of its own is not seen here, see `check_padding_of_method`; replay does not
  move running averages.

  Args:
    model: the model as the user gave it (of what `as_model` returns nothing says any more whether
      it knows the axis of devices).
    spec: the stream's shapes.
    sizes: training examples of each task.
    batch_size: examples in a batch, over all devices.
    drop_last: whether the incomplete last batch of an epoch is left out.
    num_devices: devices that share a batch.
    shapes: of the model's initial variables; None: they are traced.

  Raises:
    ValueError: with the reason and the ways out.
  """
  statistics = _moved_by_images(model, spec, shapes)
  if not statistics:
    return
  shown = ", ".join(sorted({path.split("/")[0] for path in statistics}))
  if num_devices > 1 and not takes_axis_name(model):
    raise ValueError(
      f"data_parallel={num_devices}: the model's {shown} would follow each device's share of a "
      "batch alone; give the model a field axis_name for its BatchNorm, or train on one device"
    )
  padded = [task for task, size in enumerate(sizes) if size % batch_size]
  if not padded or drop_last or not counts_padding(model, spec):
    return
  divisor = math.gcd(*sizes)
  fitting = max(size for size in range(1, batch_size + 1) if divisor % size == 0)
  divides = f", batch_size={fitting}, which divides every task" if fitting > 1 else ""
  raise ValueError(
    f"batch_size={batch_size} does not divide the {sizes[padded[0]]} examples of task {padded[0]}, "
    f"and the model's {shown} would count the rows that fill the last batch up: set drop_last=True"
    f"{divides}, or use tagjax.models.BatchNorm, which is given the mask"
  )


def check_padding_of_method(
  model: Any, spec: StreamSpec, method: Method, *, drop_last: bool = False
) -> None:
  """Refuses a model whose statistics would count padding rows that the method brings about.

  A method that rehearses makes epochs of any size, and one with inner loops passes of its own.

  Args:
    model: whatever `as_model` takes.
    spec: the stream's shapes.
    method: the method.
    drop_last: whether the incomplete last batch of an epoch is left out.

  Raises:
    ValueError: with the reason and the way out.
  """
  brings = method.pads_batches or (rehearses(method) and not drop_last)
  if brings and counts_padding(model, spec):
    name = f" {method.name}" if method.name else ""
    raise ValueError(
      f"the method{name} fills batches up with padding, which the model's running averages would "
      "count: use tagjax.models.BatchNorm, which is given the mask"
    )


def _moved_by_images(model: Any, spec: StreamSpec, shapes: Variables | None = None) -> set[str]:
  return _moved_by(model, spec, "image", shapes)


def _moved_by(
  model: Any, spec: StreamSpec, argument: str, shapes: Variables | None = None
) -> set[str]:
  """Paths of the variables, other than parameters, that a training pass changes by `argument`."""
  model = as_model(model, spec)
  variables = variable_shapes(model, spec) if shapes is None else shapes
  if set(variables) == {"params"}:
    return set()
  arguments = {
    "image": jax.ShapeDtypeStruct((_ROWS, *spec.image_shape), image_dtype(spec)),
    "mask": jax.ShapeDtypeStruct((_ROWS,), bool),
  }

  def after(argument_values, others):
    given = {**argument_values, "task_id": jnp.zeros(_ROWS, jnp.int32), "key": jax.random.key(0)}
    _, changed = model.apply(others, given.pop("image"), train=True, **given)
    return {name: tree for name, tree in changed.items() if name != "params"}

  jaxpr, shapes = jax.make_jaxpr(after, return_shape=True)(arguments, variables)
  inputs = dict(zip(sorted(arguments), jaxpr.jaxpr.invars, strict=False))
  reached = _reached(jaxpr.jaxpr, inputs[argument])
  leaves, _ = jax.tree_util.tree_flatten_with_path(shapes)
  paths = ["/".join(str(key.key) for key in path) for path, _ in leaves]
  return {
    path for path, out in zip(paths, jaxpr.jaxpr.outvars, strict=True) if _variable(out) in reached
  }


def _reached(jaxpr: Any, start: Any) -> set[Any]:
  """All variables of a jaxpr that depend on `start`; an equation mixes all of its inputs."""
  reached = {start}
  for equation in jaxpr.eqns:
    if any(_variable(value) in reached for value in equation.invars):
      reached.update(equation.outvars)
  return reached


def _variable(value: Any) -> Any:
  """None for a literal, which depends on nothing."""
  return None if isinstance(value, Literal) else value
