"""Weights that torchvision's networks have learnt, as variables of ours."""

from collections.abc import Mapping
from pathlib import Path

import chex
import flax.traverse_util
import numpy as np

from tagjax.models.torch_files import read_tensors

_LEAVES = {
  ("params", "kernel"): "weight",
  ("params", "bias"): "bias",
  ("params", "scale"): "weight",
  ("batch_stats", "mean"): "running_mean",
  ("batch_stats", "var"): "running_var",
}
_COUNTER = "num_batches_tracked"
_HEAD = "head"
_OTHER_HEAD_BYTES = 2**28  # what a head for another number of outputs may have more than ours


def load_torch_weights(
  path: str | Path, like: Mapping[str, chex.ArrayTree], names: Mapping[str, str | None]
) -> dict[str, chex.ArrayTree]:
  """Reads a state dictionary of PyTorch and turns it into variables of a Flax model.

  Kernels `[O, I, k, k]` become `[k, k, I, O]`, matrices `[O, I]` become `[I, O]`. The file must
  hold every key of the model, and no other, each of its shape and in float32; only BatchNorm's
  `num_batches_tracked` may be there or not, for nothing here counts batches. A head for another
  number of outputs is left out: the model's own is to be learnt.

  Args:
    path: see `tagjax.models.torch_files.read_tensors`.
    like: the model's variables, or their shapes.
    names: PyTorch's names of the model's layers, such as `{"stem": "conv1"}`; layers within layers
      are joined by "/", and the model's own leaves are of the layer "". None: a layer that the file
      does not have, whose values are new. Names of layers that the model lacks do no harm.

  Returns:
    A tree like `like`, of float32 NumPy arrays, without what is left out.

  Raises:
    OSError: if the file cannot be opened.
    ValueError: one line that names the keys and shapes that do not fit.
  """
  leaves = {
    place: leaf
    for place, leaf in flax.traverse_util.flatten_dict(like).items()
    if names["/".join(place[1:-1])] is not None
  }
  tensors = read_tensors(path, _OTHER_HEAD_BYTES + sum(4 * leaf.size for leaf in leaves.values()))
  wanted = {
    place: f"{names['/'.join(place[1:-1])]}.{_LEAVES[place[0], place[-1]]}" for place in leaves
  }
  shapes = {wanted[place]: _torch_shape(leaf.shape) for place, leaf in leaves.items()}
  if _is_other_head(tensors, shapes, names[_HEAD]):
    for part in ("weight", "bias"):
      tensors.pop(f"{names[_HEAD]}.{part}", None)
    wanted = {place: key for place, key in wanted.items() if _HEAD not in place}
  _check(tensors, {key: shapes[key] for key in wanted.values()})
  flat = {place: _our_order(tensors[key]) for place, key in wanted.items()}
  return flax.traverse_util.unflatten_dict(flat)


def _is_other_head(tensors: dict[str, np.ndarray], shapes: dict[str, tuple], head: str) -> bool:
  """Whether the head takes the same features to another number of outputs, or there is none."""
  key = f"{head}.weight"
  if key not in shapes:
    return True
  if key not in tensors or tensors[key].ndim != 2:
    return False
  (theirs, their_inputs), (ours, our_inputs) = tensors[key].shape, shapes[key]
  return their_inputs == our_inputs and theirs != ours


def _check(tensors: dict[str, np.ndarray], shapes: dict[str, tuple]) -> None:
  # Kernels first: they tell most of what is different.
  by_rank = sorted(shapes, key=lambda key: -len(shapes[key]))
  missing = [f"{key} {shapes[key]}" for key in by_rank if key not in tensors]
  unknown = [
    f"{key} {tensor.shape}"
    for key, tensor in tensors.items()
    if key not in shapes and not key.endswith(f".{_COUNTER}")
  ]
  common = [key for key in by_rank if key in tensors]
  misshaped = [
    f"{key} is {tensors[key].shape} and should be {shapes[key]}"
    for key in common
    if tensors[key].shape != shapes[key]
  ]
  mistyped = [
    f"{key} is {tensors[key].dtype}" for key in common if tensors[key].dtype != np.float32
  ]
  for fault, found in (
    ("lacks", missing),
    ("holds what this model has not:", unknown),
    ("holds other shapes:", misshaped),
    ("holds other types than float32:", mistyped),
  ):
    if found:
      more = f" and {len(found) - 2} more" if len(found) > 2 else ""
      raise ValueError(
        f"the file {fault} {', '.join(found[:2])}{more}; give torchvision's file of this very model"
      )


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  """`[k, k, I, O] -> [O, I, k, k]`, `[I, O] -> [O, I]`, `[C] -> [C]`."""
  return (*shape[::-1][:2], *shape[:-2]) if len(shape) > 1 else shape


def _our_order(tensor: np.ndarray) -> np.ndarray:
  """The inverse of `_torch_shape`, for the array itself."""
  axes = (*range(2, tensor.ndim), 1, 0) if tensor.ndim > 1 else (0,)
  return np.ascontiguousarray(tensor.transpose(axes))
