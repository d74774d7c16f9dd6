"""Networks whose units are gated by the task: by hard attention, or by time stamps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.register import register
from tagjax.core.types import StreamSpec
from tagjax.core.units import ATTENTION, STAMPS, UNBORN
from tagjax.models.checks import check_image, check_widths
from tagjax.models.convolution import Conv
from tagjax.models.lasem_network import Convolutions, LasemNetwork
from tagjax.models.mlp import torch_dense
from tagjax.models.pooling import max_pool_same
from tagjax.models.task_head import outputs_by_task
from tagjax.models.task_rows import drawn_by_task

Gates = Literal["attention", "stamps"]

_PERCEPTRON: Mapping[str, Any] = MappingProxyType({"channels": (), "kernels": (), "pools": ()})


class GatedNetwork(LasemNetwork, kw_only=True):
  """A `LasemNetwork` whose units each task has or does not have.

      conv_l → ReLU → · gate → max-pool, for each l → Dropout
        → (Dense → ReLU → · gate → Dropout) … → Dense

  There may be no convolutions. Each row of a batch has the gates of its own task t:

  - `"attention"`: `sigmoid(scale · e_t)`, with embeddings e in the parameters `attention/{layer}`,
    `[T, U]`, task-stacked, and `scale` in the collection "attention";
  - `"stamps"`: 1 if `born <= t < until`, else 0, with both stamps, int32 `[U]`, in the collection
    "stamps". The first `start` of the units are born in task 0, the others are reserves.

  Attributes:
    num_tasks: T.
    gates: see above.
    scale: s_max of `"attention"`, which `hat` anneals to in training; greater than 1.
    start: share of the units that are there from the start, in (0, 1); of `"stamps"`.

  References:
    Serrà, Surís, Miron, Karatzoglou. Overcoming Catastrophic Forgetting with Hard Attention to the
      Task. ICML 2018.
    Yoon, Yang, Lee, Hwang. Lifelong Learning with Dynamically Expandable Networks. ICLR 2018.
  """

  num_tasks: int
  gates: Gates
  scale: float = 400.0
  start: float = 0.5

  def __post_init__(self):
    check_widths(hidden=tuple(self.hidden), channels=tuple(self.channels))
    if self.skips:
      raise ValueError(
        f"skips={tuple(self.skips)!r} would lead past the units of a layer, which a task may not "
        "have: give channels, kernels and pools, or a preset without skips"
      )
    if not (self.channels or self.hidden):
      raise ValueError("hidden=() leaves no unit that a task could have: give a hidden layer")
    if self.gates == "attention" and not self.scale > 1:
      raise ValueError(f"scale must be greater than 1, got {self.scale!r}")
    if self.gates == "stamps":
      _check_start(self.start, channels=tuple(self.channels), hidden=tuple(self.hidden))
    super().__post_init__()

  @nn.compact
  def __call__(
    self,
    image: chex.Array,
    *,
    task_id: chex.Array,
    mask: chex.Array,
    train: bool,
    features: bool = False,
  ) -> chex.Array:
    """Computes the logits, each row by the units of its task.

    Args:
      image: float `[B, ...]`; `[B, H, W, C]` for convolutions.
      task_id: int32 `[B]`.
      mask: bool `[B]`, unused: rows do not meet.
      train: whether to drop features, with the random key "dropout".
      features: whether to return the input of the head instead.

    Returns:
      float32 `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if there are convolutions and the image is not `[B, H, W, C]`, or their sizes are
        not of the same number.
    """
    del mask
    gates = self._gates(task_id)
    x = image.astype(self.compute_dtype)
    if self.channels:
      check_image(image, "GatedNetwork")
      x = self._convolutions(x, gates)
    x = x.reshape(x.shape[0], -1)
    if self.channels:
      x = self._dropped(x, train)
    for layer, width in enumerate(self.hidden):
      name = f"hidden{layer}"
      x = nn.relu(torch_dense(x, width, name)) * gates[name].astype(x.dtype)
      x = self._dropped(x, train)
    if features:
      return x.astype(jnp.float32)
    return torch_dense(x, self.num_outputs, "head").astype(jnp.float32)

  def _dropped(self, x: chex.Array, train: bool) -> chex.Array:
    return nn.Dropout(self.dropout, deterministic=not train)(x)

  def _convolutions(self, x: chex.Array, gates: dict[str, chex.Array]) -> chex.Array:
    for layer, size in enumerate(self.sizes(x.shape[-1])):
      name = f"conv{layer}"
      conv = Conv(size.outputs, size.kernel, use_bias=True, convolve=self.convolve, name=name)
      x = nn.relu(conv(x)) * gates[name].astype(x.dtype)[:, None, None]
      x = max_pool_same(x, self.pools[layer])
    return x

  def _widths(self) -> dict[str, int]:
    convolutions = {f"conv{layer}": width for layer, width in enumerate(self.channels)}
    return convolutions | {f"hidden{layer}": width for layer, width in enumerate(self.hidden)}

  def _gates(self, task_id: chex.Array) -> dict[str, chex.Array]:
    """Of each layer, float32 `[B, U]`."""
    widths = self._widths()
    if self.gates == "attention":
      embeddings = self.param(ATTENTION, self._embeddings)
      scale = self.variable(ATTENTION, "scale", jnp.full, (), self.scale).value
      return {name: jax.nn.sigmoid(scale * rows[task_id]) for name, rows in embeddings.items()}
    born = {name: _first(width, self.start) for name, width in widths.items()}
    until = {name: np.full(width, UNBORN, np.int32) for name, width in widths.items()}
    born = self.variable(STAMPS, "born", _on_device, born).value
    until = self.variable(STAMPS, "until", _on_device, until).value
    task = task_id[:, None]
    return {
      name: ((born[name][None] <= task) & (task < until[name][None])).astype(jnp.float32)
      for name in widths
    }

  def _embeddings(self, key: chex.PRNGKey) -> dict[str, Any]:
    draw = drawn_by_task(nn.initializers.normal(1.0), self.num_tasks)
    keys = jax.random.split(key, len(self._widths()))
    widths = self._widths().items()
    return {name: draw(own, (width,)) for own, (name, width) in zip(keys, widths, strict=True)}


def _first(width: int, share: float) -> np.ndarray:
  """The stamps of a layer of which a share, at least one unit, is there from the start."""
  number = max(1, round(share * width))
  return np.where(np.arange(width) < number, 0, UNBORN).astype(np.int32)


def _on_device(tree: dict[str, np.ndarray]) -> dict[str, chex.Array]:
  return jax.tree.map(jnp.asarray, tree)


def _check_start(start: float, **widths: tuple[int, ...]) -> None:
  """Refuses networks of which the first task would have all."""
  if not 0 < start <= 1:
    raise ValueError(f"start must be in (0, 1), got {start!r}")
  for name, values in widths.items():
    full = [width for width in values if (_first(width, start) == 0).all()]
    if full:
      raise ValueError(
        f"{name}={tuple(values)!r} leaves no room to expand beside the {full[0]} units of a layer "
        f"that start={start!r} takes: give larger layers, or a smaller start"
      )


def _gated(spec: StreamSpec, name: str, gates: Gates, **fields: Any) -> GatedNetwork:
  """The network for a stream that tells tasks apart; `name` is the model's, for messages."""
  outputs_by_task(spec, name)
  return GatedNetwork(spec.num_outputs, num_tasks=spec.num_tasks, gates=gates, **fields)


@register("attention_mlp", kind="model", collections=(ATTENTION,))
def attention_mlp(
  spec: StreamSpec,
  *,
  hidden: tuple[int, ...] = (256, 256),
  scale: float = 400.0,
  dropout: float = 0.0,
  compute_dtype: jnp.dtype = jnp.float32,
) -> GatedNetwork:
  """A perceptron with hard attention to the task over its hidden units, for the method `hat`.

  Args:
    spec: the stream, of the scenario `"task"`.
    hidden: widths of the hidden layers, at least 1.
    scale: s_max, the hardness of the gates in evaluation, greater than 1.
    dropout: probability that a hidden unit is dropped in training; in [0, 1).
    compute_dtype: see `LasemNetwork`.

  Raises:
    ValueError: if the scenario is not `"task"`, or a number is out of range.
  """
  fields = {"hidden": hidden, "dropout": dropout, "compute_dtype": compute_dtype, **_PERCEPTRON}
  return _gated(spec, "attention_mlp", "attention", scale=scale, **fields)


@register("attention_cnn", kind="model", collections=(ATTENTION,), shares="convolutions")
def attention_cnn(
  spec: StreamSpec,
  *,
  scale: float = 400.0,
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> GatedNetwork:
  """Convolutions with hard attention to the task over channels and hidden units, for `hat`.

  Args:
    spec: see `attention_mlp`.
    scale: see `attention_mlp`.
    compute_dtype: see `LasemNetwork`.
    **convolutions: fields of `tagjax.models.lasem_network.Convolutions`, such as `preset="stl10"`;
      here hidden units are dropped like the features.

  Raises:
    ValueError: if the scenario is not `"task"`, a number is out of range, the sizes are not of the
      same number of convolutions, or a preset has skips.
  """
  fields = Convolutions(**convolutions).fields() | {"compute_dtype": compute_dtype}
  return _gated(spec, "attention_cnn", "attention", scale=scale, **fields)


@register("expandable_mlp", kind="model", collections=(STAMPS,))
def expandable_mlp(
  spec: StreamSpec,
  *,
  hidden: tuple[int, ...] = (256, 256),
  start: float = 0.5,
  dropout: float = 0.0,
  compute_dtype: jnp.dtype = jnp.float32,
) -> GatedNetwork:
  """A perceptron whose hidden units have time stamps, with reserves, for the method `den`.

  Args:
    spec: the stream, of the scenario `"task"`.
    hidden: largest widths of the hidden layers, reserves included.
    start: share of the units that the first task has, in (0, 1).
    dropout: probability that a hidden unit is dropped in training; in [0, 1).
    compute_dtype: see `LasemNetwork`.

  Raises:
    ValueError: if the scenario is not `"task"`, a number is out of range, or there is no reserve.
  """
  fields = {"hidden": hidden, "dropout": dropout, "compute_dtype": compute_dtype, **_PERCEPTRON}
  return _gated(spec, "expandable_mlp", "stamps", start=start, **fields)


@register("expandable_cnn", kind="model", collections=(STAMPS,), shares="convolutions")
def expandable_cnn(
  spec: StreamSpec,
  *,
  start: float = 0.5,
  compute_dtype: jnp.dtype = jnp.float32,
  **convolutions: Any,
) -> GatedNetwork:
  """Convolutions whose channels, like the hidden units, have time stamps, for the method `den`.

  Args:
    spec: see `expandable_mlp`.
    start: see `expandable_mlp`.
    compute_dtype: see `LasemNetwork`.
    **convolutions: see `attention_cnn`; channels and hidden are the largest widths, reserves
      included.

  Raises:
    ValueError: see `attention_cnn`; or if there is no reserve.
  """
  fields = Convolutions(**convolutions).fields() | {"compute_dtype": compute_dtype}
  return _gated(spec, "expandable_cnn", "stamps", start=start, **fields)
