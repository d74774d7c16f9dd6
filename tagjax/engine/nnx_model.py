"""Flax NNX modules as pure functions of variables, one collection a kind of `nnx.Variable`."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import flax.traverse_util
import jax
from flax import nnx

from tagjax.core.types import Variables
from tagjax.engine.arguments import asked, wanted

_OFFERED = ("task_id", "mask", "train", "deterministic", "rngs")


def from_nnx(make: Callable[..., nnx.Module], name: str) -> tuple[Callable, Callable]:
  """`(init, apply)` as in `tagjax.engine.model.Model`, of what makes an NNX module.

  The module is split by hand, and made whole again within each pass, so that nothing is kept in
  Python objects. `nnx.Param` and its subclasses are the collection "params", `nnx.BatchStat` is
  "batch_stats", any other variable is in the collection of its class's name, plain NumPy arrays
  among the attributes in "arrays". What a pass adds is dropped. The state of random streams
  is not a variable: each pass starts all streams anew, each with its own key.

  Args:
    make: called as `make(rngs=nnx.Rngs(key))`.
    name: of the module, for messages.

  Raises:
    TypeError: if `make` does not return an NNX module, the module holds a bare JAX array, or its
      `__call__` asks for what it cannot have.
    ValueError: if `make` itself raises an error.
  """
  graph, template = _abstract(make, name)
  streams = [path for path, leaf in template.items() if isinstance(leaf, nnx.RngKey)]

  def init(key: chex.PRNGKey, image: chex.Array) -> Variables:
    del image
    with nnx.use_eager_sharding(False):  # names of axes need no mesh
      module = make(rngs=nnx.Rngs(key))
    return _collections(module, template, boxed=True)

  def apply(variables: Variables, image: chex.Array, *, task_id, mask, train, key, features=False):
    leaves = {
      **_fresh_streams(template, streams, key),
      **{
        path: leaf.replace(value) if isinstance(leaf, nnx.Variable) else value
        for path, leaf, value in _values(template, variables)
      },
    }
    module = nnx.merge(graph, nnx.from_flat_state(leaves.items()))
    if train:
      module.train()
    else:
      module.eval()
    offered = {
      "task_id": task_id,
      "mask": mask,
      "train": train,
      "deterministic": not train,
      "rngs": None if key is None else nnx.Rngs(jax.random.fold_in(key, len(streams))),
    }
    logits = module(image, **{name: offered[name] for name in names}, **asked(features))
    changed = _collections(module, template) if train else {}
    return logits, {**variables, **changed, "params": variables["params"]}

  def call_names():
    module = nnx.merge(graph, nnx.from_flat_state(template.items()))
    if isinstance(module, nnx.Sequential):  # its `**kwargs` are its first layer's
      return frozenset()
    return wanted(module.__call__, _OFFERED, filled=1, what=f"{name}.__call__")

  names = call_names()
  return init, apply


def _abstract(make: Callable[..., nnx.Module], name: str) -> tuple[Any, dict[tuple, Any]]:
  """The static part of the module, and its leaves by their paths, as shapes."""

  def made():
    try:
      module = make(rngs=nnx.Rngs(0))
    except Exception as error:
      text = " ".join(f"{type(error).__name__}: {error}".split())
      raise ValueError(f"{name}(rngs=...) fails: {text}") from error
    if not isinstance(module, nnx.Module):
      raise TypeError(f"{name}(rngs=...) gives {type(module).__name__}, not an NNX module")
    _refuse_bare_arrays(module, name)
    return module

  with nnx.use_eager_sharding(False):
    graph, state = nnx.split(nnx.eval_shape(made))
  return graph, dict(nnx.to_flat_state(state))


def _refuse_bare_arrays(module: nnx.Module, name: str) -> None:
  """Traced, a JAX array that is not in a variable would be a constant of the static part."""
  leaves = {path for path, _ in nnx.to_flat_state(nnx.state(module))}
  for path, node in nnx.iter_graph(module):
    for attribute, value in vars(node).items() if isinstance(node, nnx.Module) else ():
      if isinstance(value, jax.Array) and (*path, attribute) not in leaves:
        place = ".".join(map(str, (name, *path, attribute)))
        raise TypeError(
          f"{place} is a bare JAX array: make it an nnx.Variable, or an nnx.Param to train it"
        )


def _fresh_streams(
  template: dict[tuple, Any], streams: list[tuple], key: chex.PRNGKey | None
) -> dict[tuple, Any]:
  """All random streams at their start, no two of them alike.

  Without a key, as in evaluation, they are the same in every pass.
  """
  key = jax.random.key(0) if key is None else key
  fresh = {}
  for path, leaf in template.items():
    if isinstance(leaf, nnx.RngKey):
      own = jax.random.fold_in(key, streams.index(path))
      fresh[path] = leaf.replace(jax.random.split(own, leaf.shape) if leaf.shape else own)
    elif isinstance(leaf, nnx.RngCount):
      fresh[path] = leaf.replace(jax.numpy.zeros(leaf.shape, leaf.dtype))
  return fresh


def _place(path: tuple, leaf: Any) -> tuple[str, ...]:
  """Where a leaf is in the variables. Names are strings, also those of a list's entries."""
  if isinstance(leaf, nnx.Param):
    collection = "params"
  elif isinstance(leaf, nnx.BatchStat):
    collection = "batch_stats"
  else:
    collection = type(leaf).__name__ if isinstance(leaf, nnx.Variable) else "arrays"
  return (collection, *map(str, path))


def _values(template: dict[tuple, Any], variables: Variables):
  """`(path, leaf of the template, value)` of all leaves that are variables."""
  values = flax.traverse_util.flatten_dict(variables)
  for path, leaf in template.items():
    if not isinstance(leaf, nnx.RngState):
      yield path, leaf, values[_place(path, leaf)]


def _collections(module: nnx.Module, template: dict[tuple, Any], *, boxed=False) -> Variables:
  """The variables of `module` that `template` knows; `boxed`: with the names of their axes."""
  flat = {}
  for path, leaf in nnx.to_flat_state(nnx.state(module)):
    if path not in template or isinstance(leaf, nnx.RngState):
      continue
    value = leaf.get_value() if isinstance(leaf, nnx.Variable) else jax.numpy.asarray(leaf)
    names = leaf.get_metadata("out_sharding", None) if isinstance(leaf, nnx.Variable) else None
    if boxed and names:
      value = nn.LogicallyPartitioned(value, tuple(names))
    flat[_place(path, template[path])] = value
  return flax.traverse_util.unflatten_dict(flat)
