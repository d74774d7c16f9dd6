"""Progressive networks: a column of layers for each task, which sees those of the tasks before."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.by_task import by_task
from tagjax.core.register import register
from tagjax.core.types import StreamSpec, Variables
from tagjax.models.checks import check_image
from tagjax.models.lasem_network import Convolutions, LasemNetwork
from tagjax.models.pooling import max_pool_same
from tagjax.models.task_head import (
  Classes,
  drawn,
  drop,
  linear_layers,
  linear_logits,
  outputs_by_task,
  placed,
)
from tagjax.models.task_rows import TASK, drawn_by_task, narrowed, row_of
from tagjax.models.transfer_layers import Initializer, Sizes, plain, plain_bias, plain_kernel


class ProgressiveCNN(LasemNetwork, kw_only=True):
  """A `LasemNetwork` for each task, with laterals from those of the tasks before.

  Column t is an ordinary network; from its second convolution on, with h_q the output of the layer
  before in the column q of an earlier task, for the same image,

      x_l = ReLU(conv(x_{l-1}) + Σ_{q<t} conv_k(ReLU(conv_1×1(α · h_q) + b')))

  then the max-pool. The 1×1 convolution has `max(1, ⌊inputs / (scale (t + 1))⌋)` outputs; the outer
  one has no bias. Hidden layers and head have no laterals. No gradient reaches earlier columns, and
  of the columns only those up to the task's are computed.

  Parameters: `conv{l}` has the subtrees `task` and, from the second on, `lateral`; `hidden{j}` and
  `head` as in `TransferCNN`. All have a row a task (`tagjax.task_stacked`); laterals have a row for
  each earlier task in it, are as wide as the widest, and 0 where a task has none.

  Attributes:
    classes: the outputs of each task, T tuples.
    scale: by which laterals are narrower than their inputs, positive.

  Differs from the reference code (LASEM's): skips are added after the ReLU, and all of them.

  References:
    Rusu et al. Progressive Neural Networks. 2016, arXiv:1606.04671.
    Lee, Behpour, Eaton. Sharing Less is More. ICML 2021.
  """

  classes: Classes
  scale: float = 2.0

  def __post_init__(self):
    if not self.scale > 0:
      raise ValueError(f"scale must be positive, got {self.scale}")
    super().__post_init__()

  @nn.compact
  def __call__(
    self, image: chex.Array, *, task_id: chex.Array, mask: chex.Array, train: bool
  ) -> chex.Array:
    """Computes the logits, each row by the column of its task.

    Args:
      image: float `[B, H, W, C]`.
      task_id: int32 `[B]`.
      mask: bool `[B]`; other rows are computed as of any task.
      train: whether to drop features, with the random key "dropout".

    Returns:
      float32 `[B, K]`, 0 at the outputs of other tasks, NaN for tasks beyond the T that the network
      has.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`.
    """
    check_image(image, "ProgressiveCNN")
    num_tasks = len(self.classes)
    params = self._parameters(image)
    key = self.make_rng("dropout") if train and self.dropout else None
    x = image.astype(self.compute_dtype)

    def forward(task):
      own = row_of(params, task)
      features = self._column(x, own, self._earlier(x, params, task), task)[-1]
      features = drop(features.reshape(1, len(features), -1), self.dropout, key)
      logits = linear_logits(features, own, self.hidden)[0]
      return placed(logits, task, self.classes, self.num_outputs)

    return by_task(forward, num_tasks, task_id, mask)

  def _parameters(self, image: chex.Array) -> dict[str, dict[str, Any]]:
    num_tasks = len(self.classes)
    by_row = functools.partial(drawn_by_task, num_tasks=num_tasks)
    params = {}
    for layer, sizes in enumerate(self.sizes(image.shape[-1])):
      draw = drawn({"task": plain(sizes)}, by_row)
      if layer and num_tasks > 1:
        draw = _with_laterals(draw, sizes, num_tasks, self.scale)
      params[f"conv{layer}"] = self.param(f"conv{layer}", draw)
    linear = linear_layers(self.num_features(*image.shape[1:3]), self.hidden, self.classes)
    for name, leaves in linear.items():
      params[name] = self.param(name, drawn({"task": leaves}, by_row))
    return params

  def parameters_in_use(
    self, variables: Variables, used: Mapping[str, Any], tasks: chex.Array
  ) -> Mapping[str, Any]:
    """Without the laterals that no column has; see `TransferCNN.parameters_in_use`."""
    del tasks
    found = {}
    for name, parts in used.items():
      found[name] = dict(parts)
      if "lateral" in parts:
        kernel = variables["params"][name]["task"]["kernel"]
        exists = _laterals(Sizes(*kernel.shape[-3:]), len(self.classes), self.scale)
        found[name]["lateral"] = {
          leaf: narrowed(mask, exists[leaf].exists) for leaf, mask in parts["lateral"].items()
        }
    return found

  def _earlier(self, x, params, task) -> list[chex.Array]:
    """What layers 0..L-2 of the columns before `task` give, `[T - 1, B, H, W, C]` each; else 0."""
    params = jax.lax.stop_gradient({k: v for k, v in params.items() if k.startswith("conv")})
    number = len(self.classes) - 1
    row = jax.eval_shape(lambda: self._column(x, row_of(params, 0), None, jnp.int32(0)))
    maps = [jnp.zeros((number, *one.shape), one.dtype) for one in row[:-1]]
    if not number or not maps:
      return maps

    def add(column, maps):
      made = self._column(x, row_of(params, column), maps, column)
      return [rows.at[column].set(one) for rows, one in zip(maps, made[:-1], strict=True)]

    return jax.lax.fori_loop(0, task, add, maps)

  def _column(self, x, layers, earlier, task) -> list[chex.Array]:
    """What each layer of one column gives, after its max-pool."""
    inputs, made = [], []
    for layer, pool in enumerate(self.pools):
      inputs.append(x)
      own = layers[f"conv{layer}"]
      kernel, bias = (own["task"][leaf].astype(x.dtype) for leaf in ("kernel", "bias"))
      total = self.convolve(x, kernel, 1) + bias.reshape(1, 1, 1, -1)
      if "lateral" in own and earlier is not None:
        total = total + self._laterals(own["lateral"], earlier[layer - 1], task)
      x = nn.relu(total)
      if (first := self.skipped(layer)) is not None:
        self.check_skip(layer, inputs[first], x)
        x = x + inputs[first]
      x = max_pool_same(x, pool)
      made.append(x)
    return made

  def _laterals(self, lateral, maps, task) -> chex.Array:
    """Their sum: one convolution over the channels of all earlier columns."""
    lateral = jax.tree.map(lambda leaf: leaf.astype(maps.dtype), lateral)
    scaled = maps * lateral["alpha"].reshape(-1, 1, 1, 1, 1)
    narrow = jnp.einsum("qbhwc,qcn->qbhwn", scaled, lateral["reduce"])
    bias = lateral["reduce_bias"][:, None, None, None, :]
    is_before = jnp.arange(len(maps)) < task
    narrow = jnp.where(is_before.reshape(-1, 1, 1, 1, 1), nn.relu(narrow + bias), 0)
    number, *image, width = narrow.shape
    joined = jnp.moveaxis(narrow, 0, 3).reshape(*image, number * width)
    kernel = lateral["kernel"]  # [T - 1, k, k, n, O]
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], number * width, -1)
    return self.convolve(joined, kernel, 1)


def lateral_width(inputs: int, column: int, scale: float) -> int:
  """Outputs of the 1×1 convolutions of a column, from 1.

  >>> lateral_width(32, 1, 2), lateral_width(32, 20, 2)
  (8, 1)
  """
  return max(1, int(inputs / (scale * (column + 1))))


def _with_laterals(draw: Callable, sizes: Sizes, num_tasks: int, scale: float) -> Callable:
  """`draw` and the laterals into the layer, 0 where a column has none."""
  laterals = _laterals(sizes, num_tasks, scale)
  pairs = (num_tasks, num_tasks - 1)

  def with_laterals(key):
    own, *keys = jax.random.split(key, 1 + len(laterals))
    lateral = {}
    for (leaf, (initializer, shape, exists)), one in zip(laterals.items(), keys, strict=True):
      values = jnp.where(exists, initializer(one, (*pairs, *shape), jnp.float32), 0)
      lateral[leaf] = nn.LogicallyPartitioned(values, (TASK, *[None] * (len(shape) + 1)))
    return {**draw(own), "lateral": lateral}

  return with_laterals


class _Lateral(NamedTuple):
  """A parameter of all laterals into a layer, `[T, T - 1, *shape]`, and where it is not 0."""

  initializer: Initializer
  shape: tuple[int, ...]
  exists: np.ndarray


def _laterals(sizes: Sizes, num_tasks: int, scale: float) -> dict[str, _Lateral]:
  widest = lateral_width(sizes.inputs, 1, scale)
  widths = [lateral_width(sizes.inputs, column, scale) for column in range(num_tasks)]
  # [T, T - 1, n]: the column t, an earlier one q, and the outputs that a lateral has.
  columns, earlier = np.arange(num_tasks)[:, None, None], np.arange(num_tasks - 1)[None, :, None]
  there = (earlier < columns) & (np.arange(widest) < np.array(widths)[:, None, None])
  return {
    "alpha": _Lateral(plain_kernel, (1,), there[..., :1]),
    "reduce": _Lateral(plain_kernel, (sizes.inputs, widest), there[:, :, None, :]),
    "reduce_bias": _Lateral(plain_bias, (widest,), there),
    "kernel": _Lateral(
      plain_kernel,
      (sizes.kernel, sizes.kernel, widest, sizes.outputs),
      there[:, :, None, None, :, None],
    ),
  }


@register("prognn", kind="model", shares="convolutions")
def prognn(
  spec: StreamSpec,
  *,
  scale: float = 2.0,
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> ProgressiveCNN:
  """Progressive networks: a column for each task, with laterals from those of earlier tasks.

  Args:
    spec: the stream, of the scenario `"task"`.
    scale: by which laterals are narrower than their inputs, positive; the paper has 1 and 2.
    compute_dtype: see `LasemNetwork`.
    **convolutions: see `hps`.

  Raises:
    ValueError: if the scenario is not `"task"`, the sizes are not of the same number of layers, or
      `scale` is not positive.
  """
  return ProgressiveCNN(
    spec.num_outputs,
    classes=outputs_by_task(spec, "prognn"),
    scale=scale,
    compute_dtype=compute_dtype,
    **Convolutions(**convolutions).fields(),
  )
