"""Models from outside: Flax Linen, Flax NNX or two functions, all behind one adapter.

`as_model` makes a `Model` of whatever a user brings; the learner knows nothing else.
`checked_model` finds a model that does not fit the stream before anything is compiled.
"""

import dataclasses
import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp

from tagjax.core.keys import key_shape
from tagjax.core.types import StreamSpec, Variables, holds_tokens
from tagjax.engine.arguments import asked, constructor_names, wanted

TASK_AXIS = "task"
"""The logical name of a parameter's first axis that has one row a task."""

_CALL = ("task_id", "mask", "train", "deterministic")
_CHECKED_ROWS = 3
_LONGEST_REASON = 300


class Model(NamedTuple):
  """A model as two pure functions.

  What `as_model` returns has exactly the signatures below. A model of your own may be laxer:
  `init` and `apply` name only those keywords that they want, and `init` may return a bare tree of
  parameters.

  **Variables.** If `init` returns a mapping with the key "params", it is a mapping of collections,
  and `apply` is given all of them. Anything else is the tree of parameters itself, and `apply` is
  given just that. `apply` returns the logits, or `(logits, changed)` where `changed` maps the names
  of collections to their values after the pass. Collections that it leaves out stay as they are, so
  do the parameters, and in evaluation all of them.

  **Task-stacked parameters.** Leaves of what `init` returns may be boxes of Flax with names of axes
  (`nn.LogicallyPartitioned(value, ("task", None))`); see `task_stacked`. `apply` never sees them.

  **Growth.** A Linen module may have a method `parameters_in_use(variables, used, tasks) -> used`,
  which says what of its parameters `tasks`, bool `[T]`, need; see `tagjax.engine.growth`.

  Attributes:
    init: `(key, image) -> variables`; keywords: `task_id`, `mask`, `train` (False).
    apply: `(variables, image, *, task_id, mask, train, key, features) -> (logits [B, K],
      variables)`.
      `image` is `[B, ...]`, `task_id` int32 `[B]`, `mask` bool `[B]` (False where a row only fills
      the batch up), `train` a Python bool, `key` a random key or None. `features`, a Python bool,
      False by default, is given only where it is True: the features `[B, d]` that the head turns
      into logits are then returned in their place. Other keywords:
      `deterministic` (`not train`), `rngs` (`{"dropout": key}`, or None).

  >>> import jax, jax.numpy as jnp
  >>> linear = Model(
  ...   init=lambda key, image: {"w": jnp.zeros((image[0].size, 2))},
  ...   apply=lambda params, image: image.reshape(len(image), -1) @ params["w"],
  ... )
  """

  init: Callable[..., Variables]
  apply: Callable[..., Any]


class _Adapted(Model):
  """What `as_model` has made: it need not be looked at again, which would trace its `init`."""

  __slots__ = ()


def as_model(model: Any, spec: StreamSpec, *, axis_name: str | None = None) -> Model:
  """Makes a `Model` of a Flax Linen module, what makes an NNX module, or a `Model`.

  Linen: an instance. Its `__call__` gets the images by position and, by keyword, those of
  `task_id`, `mask`, `train` and `deterministic` (`not train`) that it names; all of them if it has
  `**kwargs` (`nn.Sequential`, which hands them to its first layer, gets none). A training pass may
  change every collection that initialisation makes. All random streams have a key in training:
  "dropout" the pass's own, streams of other names one derived from it. A field `axis_name` is set.

  NNX: the class, or any callable with a parameter `rngs` that returns a module, such as
  `functools.partial(Net, width=64)`: every seed makes its own. `__call__` as above, `rngs` too.
  `train()` or `eval()` is called on the module in each pass. A parameter `axis_name` is given. For
  the collections see `tagjax.engine.nnx_model.from_nnx`.

  Args:
    model: the model as the user gave it; what this function returned is allowed.
    spec: the stream's shapes.
    axis_name: name of the axis of the devices that share a batch; None on one device.

  Returns:
    The model, whose functions have the signatures of `Model` in full.

  Raises:
    TypeError: if it is none of these, an NNX instance, or asks for arguments that nobody gives.
  """
  if isinstance(model, _Adapted):
    return model
  if isinstance(model, Model):
    return _from_functions(model, spec)
  nnx = _loaded_nnx()
  if nnx and isinstance(model, nnx.bridge.ToLinen):
    model = functools.partial(model.nnx_class, *model.args, **model.kwargs)
  if isinstance(model, nn.Module):
    return _from_linen(_with_axis_name(model, axis_name))
  if nnx and isinstance(model, nnx.Module):
    raise TypeError(
      f"the model is an instance of the NNX module {model_name(model)}: give the class, or "
      f"functools.partial({model_name(model)}, ...), because every seed makes its own"
    )
  if isinstance(model, type) and issubclass(model, nn.Module):
    raise TypeError(f"the model is the Linen class {model_name(model)}: give an instance of it")
  if callable(model) and "rngs" in constructor_names(model):
    from tagjax.engine.nnx_model import from_nnx  # NNX takes a sixth of a second to import

    if takes_axis_name(model):
      return _Adapted(*from_nnx(functools.partial(model, axis_name=axis_name), model_name(model)))
    return _Adapted(*from_nnx(model, model_name(model)))
  raise TypeError(
    f"the model is {model_name(model)}: give a Flax Linen module, an NNX class (or a function with "
    "a parameter rngs that returns an NNX module), or tagjax.Model(init, apply)"
  )


def _loaded_nnx() -> types.ModuleType | None:
  """Flax NNX if anybody has imported it; else no object can be of it."""
  return sys.modules.get("flax.nnx")


def takes_axis_name(model: Any) -> bool:
  """Whether `as_model` can tell the model the name of the axis of devices."""
  if isinstance(model, nn.Module):
    return "axis_name" in {field.name for field in dataclasses.fields(model)}
  return not isinstance(model, Model) and "axis_name" in constructor_names(model)


def call_names(model: Any) -> frozenset[str]:
  """The names of the arguments of the model's call, of whatever `as_model` takes."""
  if isinstance(model, Model):
    call = model.apply
  else:
    while isinstance(model, functools.partial):
      model = model.func
    call = (model if isinstance(model, type) else type(model)).__call__
  return frozenset(inspect.signature(call).parameters)


def initial_variables(model: Any, spec: StreamSpec, key: chex.PRNGKey) -> Variables:
  """What the model starts with, drawn from `key`: collections of plain arrays, "params" first.

  Args:
    model: whatever `as_model` takes.
    spec: the stream's shapes.
    key: typed random key.

  Raises:
    ValueError: if the model cannot take the stream's images.
  """
  image = jnp.zeros((1, *spec.image_shape), image_dtype(spec))
  return {"params": {}, **nn.meta.unbox(as_model(model, spec).init(key, image))}


def image_dtype(spec: StreamSpec) -> jnp.dtype:
  """The dtype in which the model gets the images.

  float32 for pixels (uint8) and floating images; sequences of other integers stay what they are.
  """
  return jnp.dtype(spec.image_dtype if holds_tokens(spec.image_dtype) else jnp.float32)


def variable_shapes(model: Any, spec: StreamSpec) -> Variables:
  """The shapes and dtypes of `initial_variables`."""
  return jax.eval_shape(functools.partial(initial_variables, model, spec), key_shape())


def checked_model(model: Any, spec: StreamSpec) -> tuple[Variables, chex.ArrayTree]:
  """Refuses a model that does not fit the stream, from shapes alone.

  Args:
    model: whatever `as_model` takes, without the name of an axis of devices.
    spec: the stream's head and shapes.

  Returns:
    The shapes and dtypes of the initial variables, and what `task_stacked` returns: one look at the
    model for both.

  Raises:
    ValueError: if the model cannot take the stream's images, has no parameters, has rows for more
      or fewer tasks than there are, does not give floating logits `[B, K]`, or returns variables of
      other shapes than it was given.
    TypeError: see `as_model`.
  """
  model = as_model(model, spec)
  boxed = _traced(lambda: _boxed_shapes(model, spec), spec)
  stacked = _stacked(boxed.get("params", {}), spec)
  before = {"params": {}, **nn.meta.unbox(boxed)}
  if not jax.tree.leaves(before["params"]):
    raise ValueError('the model has no parameters: its init must return some, under "params"')
  for train in (False, True):
    logits, after = _traced(functools.partial(_outputs, model, spec, before, train), spec)
    _check_logits(logits, spec)
    _check_kept(before, after)
  return before, stacked


def _outputs(model: Model, spec: StreamSpec, variables: Variables, train: bool):
  """Shapes of what a pass gives."""
  rows = _CHECKED_ROWS
  return jax.eval_shape(
    lambda variables, image, task_id, mask, key: model.apply(
      variables, image, task_id=task_id, mask=mask, train=train, key=key if train else None
    ),
    variables,
    jax.ShapeDtypeStruct((rows, *spec.image_shape), image_dtype(spec)),
    jax.ShapeDtypeStruct((rows,), jnp.int32),
    jax.ShapeDtypeStruct((rows,), bool),
    key_shape(),
  )


def _traced(trace: Callable[[], Any], spec: StreamSpec) -> Any:
  try:
    return trace()
  except Exception as error:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
    shape = ", ".join(map(str, ("B", *spec.image_shape)))
    raise ValueError(
      f"the model fails on the stream's images, {image_dtype(spec).name} [{shape}]: {reason}"
    ) from error


def _check_logits(logits: Any, spec: StreamSpec) -> None:
  wanted_shape = (_CHECKED_ROWS, spec.num_outputs)
  if not hasattr(logits, "shape"):
    raise ValueError(
      f"the model returns {type(logits).__name__}: it must return one array of logits "
      f"[B, {spec.num_outputs}]"
    )
  if len(logits.shape) != 2 or logits.shape[0] != _CHECKED_ROWS:
    raise ValueError(
      f"the model gives an output of shape {logits.shape} for {_CHECKED_ROWS} images: it must give "
      f"logits of shape {wanted_shape}"
    )
  if logits.shape != wanted_shape:
    raise ValueError(
      f"the model gives {logits.shape[1]} outputs, the stream has {spec.num_outputs}: make its "
      f"last layer {spec.num_outputs} wide (stream.spec.num_outputs)"
    )
  if not jnp.issubdtype(logits.dtype, jnp.floating):
    raise ValueError(
      f"the model gives logits of dtype {logits.dtype}: they must be floating, before any argmax"
    )


def _check_kept(before: Variables, after: Variables) -> None:
  """A pass may change the variables' values, not what they are: they run through a loop."""
  shown = [_described(tree) for tree in (before, after)]
  for path in sorted(shown[0].keys() | shown[1].keys()):
    was, now = (one.get(path, "not there") for one in shown)
    if was != now:
      raise ValueError(
        f"the model's variable {path} is {was} before a pass and {now} after it: keep its shape "
        "and dtype, and make all variables in init"
      )


def _described(variables: Variables) -> dict[str, str]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
  return {
    jax.tree_util.keystr(path): f"{leaf.dtype.name}{list(leaf.shape)}" for path, leaf in leaves
  }


def task_stacked(model: Any, spec: StreamSpec) -> chex.ArrayTree:
  """Which parameters have one row a task on their first axis: the mask of `only_current_task`.

  The model says so by the logical name "task". Linen:
  `self.param("w", nn.with_logical_partitioning(initializer, ("task", None)), shape)`; NNX:
  `nnx.Param(value, out_sharding=("task", None))`. `nn.with_partitioning` is read as well.

  Args:
    model: whatever `as_model` takes.
    spec: the stream's shapes.

  Returns:
    A tree like the parameters, of bools.

  Raises:
    ValueError: if such a parameter does not have T rows.
  """
  return _stacked(_boxed_shapes(as_model(model, spec), spec).get("params", {}), spec)


def _boxed_shapes(model: Model, spec: StreamSpec) -> Variables:
  """Shapes of the initial variables, in the boxes that name their axes."""
  image = jax.ShapeDtypeStruct((1, *spec.image_shape), image_dtype(spec))
  return jax.eval_shape(model.init, key_shape(), image)


def _stacked(boxed: chex.ArrayTree, spec: StreamSpec) -> chex.ArrayTree:
  """See `task_stacked`; of the shapes of parameters."""

  def is_stacked(path, axes, leaf):
    if not (axes and axes[0] == TASK_AXIS):
      return False
    if leaf.shape[:1] != (spec.num_tasks,):
      raise ValueError(
        f"parameter {jax.tree_util.keystr(path)} of shape {leaf.shape} has the first axis "
        f"{TASK_AXIS!r}: it must have {spec.num_tasks} rows, one for each task of the stream"
      )
    return True

  return jax.tree_util.tree_map_with_path(
    is_stacked,
    nn.get_partition_spec(boxed),
    nn.meta.unbox(boxed),
    is_leaf=lambda node: isinstance(node, jax.sharding.PartitionSpec),
  )


def model_name(model: Any) -> str:
  """What the model is called in messages."""
  while isinstance(model, functools.partial):
    model = model.func
  return getattr(model, "__qualname__", None) or type(model).__qualname__


def _with_axis_name(module: nn.Module, axis_name: str | None) -> nn.Module:
  if not takes_axis_name(module) or module.axis_name == axis_name:
    return module
  return module.clone(axis_name=axis_name)


def _streams(key: chex.PRNGKey, own: str) -> dict[str, chex.PRNGKey]:
  """Keys of Linen's random streams; "params" serves those of other names, "default" NNX's."""
  others = [name for name in ("params", "dropout", "default") if name != own]
  # From 2: the learner folds 1 into the key of a pass for its images.
  return {own: key} | {name: jax.random.fold_in(key, n) for n, name in enumerate(others, 2)}


def _first_pass(image: chex.Array) -> dict[str, Any]:
  """The keywords at initialisation."""
  rows = image.shape[:1]
  return {
    "task_id": jnp.zeros(rows, jnp.int32),
    "mask": jnp.ones(rows, bool),
    "train": False,
    "deterministic": True,
  }


def _from_linen(module: nn.Module) -> Model:
  what = f"{model_name(module)}.__call__"
  is_sequential = isinstance(module, nn.Sequential)  # its `**kwargs` are its first layer's
  names = frozenset() if is_sequential else wanted(module.__call__, _CALL, filled=1, what=what)

  def init(key, image):
    given = {name: value for name, value in _first_pass(image).items() if name in names}
    return flax.core.unfreeze(module.init(_streams(key, "params"), image, **given))

  def apply(variables, image, *, task_id, mask, train, key, features=False):
    offered = {"task_id": task_id, "mask": mask, "train": train, "deterministic": not train}
    logits, changed = module.apply(
      variables,
      image,
      **{name: value for name, value in offered.items() if name in names},
      **asked(features),
      rngs=None if key is None else _streams(key, "dropout"),
      mutable=[name for name in variables if name != "params"] if train else [],
    )
    return logits, {**variables, **flax.core.unfreeze(nn.meta.unbox(changed))}

  return _Adapted(init, apply)


def _from_functions(model: Model, spec: StreamSpec) -> Model:
  init_names = wanted(model.init, _CALL, filled=2, what="the model's init")
  offered_names = (*_CALL, "key", "rngs")
  names = wanted(model.apply, offered_names, filled=2, what="the model's apply")

  def raw_init(key, image):
    given = {name: value for name, value in _first_pass(image).items() if name in init_names}
    return model.init(key, image, **given)

  image = jax.ShapeDtypeStruct((1, *spec.image_shape), image_dtype(spec))
  is_bare = not _has_collections(jax.eval_shape(raw_init, key_shape(), image))

  def init(key, image):
    made = raw_init(key, image)
    return {"params": made} if is_bare else flax.core.unfreeze(dict(made))

  def apply(variables, image, *, task_id, mask, train, key, features=False):
    offered = {
      **{"task_id": task_id, "mask": mask, "train": train, "deterministic": not train},
      **{"key": key, "rngs": None if key is None else {"dropout": key}},
    }
    result = model.apply(
      variables["params"] if is_bare else variables,
      image,
      **{name: value for name, value in offered.items() if name in names},
      **asked(features),
    )
    logits, changed = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if is_bare and changed:
      raise TypeError(
        "the model's apply returns variables, but its init a bare tree of parameters: let init "
        'return {"params": parameters, ...} with all collections'
      )
    changed = flax.core.unfreeze(dict(changed)) if train else {}
    return logits, {**variables, **changed, "params": variables["params"]}

  return _Adapted(init, apply)


def _has_collections(variables: Any) -> bool:
  return isinstance(variables, Mapping) and "params" in variables
