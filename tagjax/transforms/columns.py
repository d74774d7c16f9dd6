"""Rows of numbers whose columns are shared out over devices, as TAG keeps them if it is told to.

Of a row of n numbers each of D devices holds `ceil(n / D)`, the last ones padded with zeros. By
columns, not by tasks: every device then works at every step, whatever the task. A row of fewer
numbers than devices is held whole by each.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class Columns(NamedTuple):
  """Who holds which columns; the default: one device holds all.

  The methods but `width` work inside a function that is mapped over the devices.

  Attributes:
    axis_name: mapped axis of devices.
    num_devices: D, devices on that axis.
  """

  axis_name: str | None = None
  num_devices: int = 1

  def width(self, size: int) -> int:
    """Columns that a device holds of a row of `size` numbers."""
    return -(-size // self.num_devices) if size >= self.num_devices else size

  def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what a device holds of a tensor: its own if that is all of it, else flat."""
    size = math.prod(shape)
    return tuple(shape) if self.width(size) == size else (self.width(size),)

  def own(self, tensor: chex.Array) -> chex.Array:
    """This device's columns of a tensor, of the shape that `shape` says."""
    width = self.width(tensor.size)
    if width == tensor.size:
      return tensor
    padded = jnp.pad(tensor.reshape(-1), (0, width * self.num_devices - tensor.size))
    return jax.lax.dynamic_slice_in_dim(padded, jax.lax.axis_index(self.axis_name) * width, width)

  def total(self, part: chex.Array, size: int) -> chex.Array:
    """Sum over the devices of what each made of its columns of rows of `size` numbers."""
    return part if self.width(size) == size else jax.lax.psum(part, self.axis_name)

  def whole(self, columns: chex.Array, shape: tuple[int, ...]) -> chex.Array:
    """The inverse of `own`: the tensor, on every device."""
    size = math.prod(shape)
    if self.width(size) == size:
      return columns
    return jax.lax.all_gather(columns, self.axis_name, tiled=True)[:size].reshape(shape)


def join(parts: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Tensors from the columns of all devices, on the host.

  Args:
    parts: `[D, ..., width]`, of tensors whose number has the axes in the middle.
    shape: `[..., *tensor]`.

  >>> join(np.array([[[1, 2]], [[3, 0]]]), (1, 3))
  array([[1, 2, 3]])
  """
  rows = np.moveaxis(parts, 0, -2)
  leading = rows.shape[:-2]
  size = math.prod(shape[len(leading) :])
  return rows.reshape(*leading, -1)[..., :size].reshape(shape)


def split(tensors: np.ndarray, held: tuple[int, ...], num_devices: int) -> np.ndarray:
  """The inverse of `join`: `[..., *tensor] -> [D, ..., width]`, padded with zeros.

  Args:
    tensors: `[..., *tensor]`.
    held: `(..., width)`, the shape of what a device holds.
    num_devices: D.

  >>> split(np.array([[1, 2, 3]]), (1, 2), 2).tolist()
  [[[1, 2]], [[3, 0]]]
  """
  rows = tensors.reshape(*held[:-1], -1)
  width = held[-1]
  widths = [(0, 0)] * (rows.ndim - 1) + [(0, width * num_devices - rows.shape[-1])]
  padded = np.pad(rows, widths).reshape(*held[:-1], num_devices, width)
  return np.moveaxis(padded, -2, 0)
