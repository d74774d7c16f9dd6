"""A convolutional network of many tasks, each layer of which is shared by them or each task's own.

The networks are those of LASEM (`tagjax.models.lasem_cnn`), with hidden layers and a head for each
task.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.by_task import by_task, only_task
from tagjax.core.register import register
from tagjax.core.sharing import MIXED, OWN, ROUTED, SEARCHED, SHARED, resolve_sharing
from tagjax.core.types import StreamSpec, Variables
from tagjax.models.checks import check_image, check_rates
from tagjax.models.convolution import Convolve, convolve
from tagjax.models.lasem_cnn import PRESETS, Preset
from tagjax.models.pooling import max_pool_same
from tagjax.models.task_head import (
  Classes,
  drawn,
  drop,
  linear_layers,
  linear_logits,
  outputs_by_task,
  placed,
  split,
)
from tagjax.models.task_rows import drawn_by_task, narrowed, row_of
from tagjax.models.transfer_layers import (
  DFCNN,
  HPS,
  TF,
  Drawn,
  Sizes,
  Transfer,
  plain,
)

FACTORS: Mapping[Preset, Mapping[str, tuple[int, ...]]] = {
  "cifar": {
    "base_channels": (16, 24, 32, 36),
    "filter_sizes": (3,) * 4,
    "filter_channels": (24, 48, 64, 72),
  },
  "office_home": {
    "base_channels": (24, 64, 64, 64),
    "filter_sizes": (3,) * 4,
    "filter_channels": (48, 128, 128, 128),
  },
  "stl10": {
    "base_channels": (12, 24, 32, 48, 64, 96),
    "filter_sizes": (3,) * 6,
    "filter_channels": (24, 48, 64, 96, 128, 192),
  },
  "stl10_nine_layers": {
    "base_channels": (12, 24, 24, 32, 48, 48, 64, 96, 96),
    "filter_sizes": (3,) * 9,
    "filter_channels": (24, 48, 48, 64, 96, 96, 128, 192, 192),
  },
}
"""The paper's sizes of deconvolutional factorization; it has none for "seventeen_layers"."""


class TransferCNN(nn.Module):
  """Convolutions that are shared or not, then hidden layers and a head of each task's own.

      conv_l → ReLU (→ + skip) → max-pool p_l×p_l, for each l → Dropout → (Dense → ReLU) … → Dense

  Parameters: `conv{l}` has a subtree `shared` (of all tasks) and `factors` (a row a task) where the
  layer is shared, `task` (an ordinary convolution, a row a task) where it is not, and all of them
  in a searched network. `hidden{j}` and `head` have a row a task. What has rows is marked for
  `tagjax.task_stacked`; only the rows of the task being learned should move (`only_current_task`).

  A searched network has the collection "routing" with `sharing`, bool `[T, L]`: the configuration
  of each task. Methods that search replace it in passes of their own by

  * `{"sharing": ..., "candidates": int8 [n, L] of NumPy}`: the network gives the logits of all n
    configurations, `[n, B, K]`. An entry is `OWN`, `SHARED`, `ROUTED` or `MIXED`. All valid rows
    of the batch must be of one task. Each layer is computed once for each distinct beginning of a
    configuration: 2^(l+1) times in layer l for all 2^L of them, not 2^L times.
  * with `"mixture"`, float `[L, 2]`, for `MIXED`: the weights of the task's own layer and of the
    shared one, each after its ReLU.

  Attributes:
    num_outputs: K, the outputs of the stream.
    classes: the outputs of each task, T tuples.
    transfer: the kind of transfer of each layer, L values.
    sharing: which layers are shared, L values; None: searched.
    channels: output channels of each convolution, L values.
    kernels: height and width of each kernel, odd.
    pools: size and stride of the max-pool after each convolution; 1: none.
    hidden: widths of the hidden linear layers.
    skips: pairs (first, last) of convolutions between which a skip leads, see `LasemCNN`.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
    convolve: how convolutions are computed, see `tagjax.models.convolution`.
    compute_dtype: of products, convolutions and activations; see `tagjax.models`.

  Differs from the reference code: a skip is added after the ReLU in all networks; a searched
  network computes a layer once for all configurations that begin alike.

  References:
    Lee, Behpour and Eaton, 2021, "Sharing Less is More: Lifelong Learning in Deep Networks with
    Selective Layer Transfer", https://proceedings.mlr.press/v139/lee21a.html
  """

  num_outputs: int
  classes: Classes
  transfer: tuple[Transfer, ...]
  sharing: tuple[bool, ...] | None
  channels: tuple[int, ...]
  kernels: tuple[int, ...]
  pools: tuple[int, ...]
  hidden: tuple[int, ...]
  skips: tuple[tuple[int, int], ...] = ()
  dropout: float = 0.5
  convolve: Convolve = convolve
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_rates(dropout=self.dropout)
    super().__post_init__()

  @nn.compact
  def __call__(
    self, image: chex.Array, *, task_id: chex.Array, mask: chex.Array, train: bool
  ) -> chex.Array:
    """Computes the logits, each row by the parameters of its task.

    Args:
      image: float `[B, H, W, C]`.
      task_id: int32 `[B]`.
      mask: bool `[B]`; other rows are computed as of any task.
      train: whether to drop features, with the random key "dropout".

    Returns:
      float32 `[B, K]`, 0 at the outputs of other tasks, NaN for tasks beyond the T that the network
      has; `[n, B, K]` if "routing" has candidates.

    Raises:
      ValueError: if the image is not `[B, H, W, C]`, the attributes do not name the same number of
        layers, or a skip joins different shapes.
    """
    check_image(image, "TransferCNN")
    num_tasks = len(self.classes)
    params = self._parameters(image)
    shared, own = split(params)
    key = self.make_rng("dropout") if train and self.dropout else None
    routing = self._routing(num_tasks)
    x = image.astype(self.compute_dtype)

    def forward(candidates, task):
      layers = row_of(own, task)
      sharing = row_of(routing["sharing"], task) if "sharing" in routing else None
      chosen = _Chosen(candidates, sharing, routing.get("mixture"))
      features = self._convolutions(x, shared, layers, chosen)
      features = drop(features.reshape(*features.shape[:2], -1), self.dropout, key)
      logits = linear_logits(features, layers, self.hidden)
      return placed(logits, task, self.classes, self.num_outputs)

    if "candidates" in routing:
      task, _ = only_task(task_id, mask)
      return forward(np.asarray(routing["candidates"]), task)
    row = [ROUTED] * len(self.kernels) if self.sharing is None else self.sharing
    alone = np.array([row], np.int8)
    return by_task(lambda task: forward(alone, task)[0], num_tasks, task_id, mask)

  def layer_sizes(self, image_shape: tuple[int, ...]) -> list[int]:
    """Numbers that each convolution makes of an image."""
    (height, width), sizes = image_shape[:2], []
    for outputs, _, pool, _ in self._layers():
      sizes.append(height * width * outputs)
      height, width = -(-height // pool), -(-width // pool)
    return sizes

  def parameters_in_use(
    self, variables: Variables, used: Mapping[str, Any], tasks: chex.Array
  ) -> Mapping[str, Any]:
    """Of a searched network what the configurations of these tasks need.

    Args:
      variables: the network's.
      used: bool arrays that broadcast to the parameters.
      tasks: bool `[T]`, the tasks that have begun.
    """
    if self.sharing is not None:
      return used
    found = dict(used)
    for layer, shares in enumerate(jnp.moveaxis(variables["routing"]["sharing"], 1, 0)):
      needed = {
        "shared": jnp.any(shares & tasks),
        "factors": shares & tasks,
        "task": ~shares & tasks,
      }
      parts = used[f"conv{layer}"]
      found[f"conv{layer}"] = {part: narrowed(parts[part], needed[part]) for part in parts}
    return found

  def _routing(self, num_tasks: int) -> Mapping[str, chex.Array]:
    if self.sharing is not None:
      return {}
    shape = (num_tasks, len(self.kernels))
    self.variable("routing", "sharing", jnp.ones, shape, bool)
    return self.variables["routing"]

  def _parameters(self, image: chex.Array) -> dict[str, dict[str, Any]]:
    """All of them by layer and part; the last axes of a row are those of one task's values."""
    channels, (height, width) = image.shape[-1], image.shape[1:3]
    params = {}
    for layer, (outputs, size, pool, kind) in enumerate(self._layers()):
      sizes = Sizes(size, channels, outputs)
      parts: dict[str, Drawn] = {}
      if self.sharing is None or self.sharing[layer]:
        parts |= {"shared": kind.shared(sizes), "factors": kind.factors(sizes)}
      if self.sharing is None or not self.sharing[layer]:
        parts |= {"task": plain(sizes)}
      params[f"conv{layer}"] = self._drawn(f"conv{layer}", parts)
      channels, height, width = outputs, -(-height // pool), -(-width // pool)
    linear = linear_layers(height * width * channels, self.hidden, self.classes)
    return params | {name: self._drawn(name, {"task": leaves}) for name, leaves in linear.items()}

  def _drawn(self, name: str, parts: Mapping[str, Drawn]) -> dict[str, Any]:
    """The parameters of a layer: drawn at first, then as they are."""
    by_task = functools.partial(drawn_by_task, num_tasks=len(self.classes))
    return self.param(name, drawn(parts, by_task))

  def _convolutions(self, x, shared, layers, chosen: "_Chosen") -> chex.Array:
    """Features `[n, B, H, W, C]` of all candidates."""
    starts = {last: first for first, last in self.skips}
    begun, x = [()], x[None]
    inputs = []
    for layer, (_, _, pool, _) in enumerate(self._layers()):
      inputs.append((begun, x))
      compute = self._layer(layer, shared, layers, chosen)
      begun, x = _branched(begun, x, chosen.beginnings(layer + 1), compute)
      if layer in starts:
        x = _joined(*inputs[starts[layer]], begun, x, (starts[layer], layer))
      x = _by_image(lambda image, pool=pool: max_pool_same(image, pool), x)
    order = [begun.index(row) for row in chosen.beginnings(len(self.kernels), distinct=False)]
    return _taken(x, order)

  def _layer(self, layer: int, shared, layers, chosen: "_Chosen") -> Callable:
    """`(how, image) -> ReLU(convolution)` of one layer."""
    name = f"conv{layer}"
    common, own = shared[name], layers[name]

    def weights(how):
      if how == SHARED:
        return self.transfer[layer].weights(common, own.get("factors", {}))
      if how == OWN:
        return own["task"]["kernel"], own["task"]["bias"]
      is_shared = chosen.sharing[layer]
      pairs = zip(weights(SHARED), weights(OWN), strict=True)
      return tuple(jnp.where(is_shared, a, b) for a, b in pairs)

    def compute(how, image):
      if how == MIXED:
        mine, common = (compute(one, image) for one in (OWN, SHARED))
        share = chosen.mixture[layer].astype(image.dtype)
        return share[0] * mine + share[1] * common
      kernel, bias = (value.astype(image.dtype) for value in weights(how))
      return nn.relu(self.convolve(image, kernel, 1) + bias.reshape(1, 1, 1, -1))

    return compute

  def _layers(self) -> list[tuple[int, int, int, Transfer]]:
    layers = (self.channels, self.kernels, self.pools, self.transfer)
    if len({len(values) for values in layers}) > 1:
      raise ValueError(
        f"channels={self.channels}, kernels={self.kernels}, pools={self.pools}, and the sizes of "
        f"the transfer ({len(self.transfer)}): give each of them a value for every convolution"
      )
    return list(zip(*layers, strict=True))


class _Chosen:
  """The configurations of a pass, and what those of their layers that are traced depend on."""

  def __init__(self, candidates: np.ndarray, sharing, mixture):
    self._rows = [tuple(row) for row in candidates.tolist()]
    self.sharing, self.mixture = sharing, mixture

  def beginnings(self, length: int, *, distinct: bool = True) -> list[tuple[int, ...]]:
    rows = [row[:length] for row in self._rows]
    return list(dict.fromkeys(rows)) if distinct else rows


def _branched(begun, x, wanted, compute):
  """One more layer: for each beginning all that goes on from it.

  Args:
    begun: the V beginnings so far.
    x: `[V, B, ...]`.
    wanted: the beginnings that are one layer longer.
    compute: `(how, image) -> image` of the layer.
  """
  found, parts = [], []
  for how in dict.fromkeys(row[-1] for row in wanted):
    rows = [row for row in wanted if row[-1] == how]
    parents = _taken(x, [begun.index(row[:-1]) for row in rows])
    found += rows
    parts.append(_by_image(lambda image, how=how: compute(how, image), parents))
  return found, parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _taken(x, rows: Sequence[int]):
  return x if list(rows) == list(range(len(x))) else x[np.asarray(rows)]


def _by_image(function, x):
  """`function` of images `[N, ...]` applied to `[V, B, ...]`."""
  out = function(x.reshape(-1, *x.shape[2:]))
  return out.reshape(*x.shape[:2], *out.shape[1:])


def _joined(before, skipped, begun, x, skip):
  """`x` and the input of an earlier layer, each with the beginning that it continues."""
  if skipped.shape[1:] != x.shape[1:]:
    raise ValueError(
      f"the skip {skip} would add {skipped.shape[2:]} to {x.shape[2:]}: a skip leads over "
      "convolutions that keep the shape, without a max-pool between them"
    )
  return x + _taken(skipped, [before.index(row[: len(before[0])]) for row in begun])


def _everywhere(kind: Transfer) -> Callable[[int], tuple[Transfer, ...]]:
  """From the number of convolutions to their kinds of transfer, which are all the same."""

  def kinds(depth: int) -> tuple[Transfer, ...]:
    return (kind,) * depth

  return kinds


def _network(
  spec: StreamSpec,
  kinds: Callable[[int], tuple[Transfer, ...]],
  name: str,
  *,
  preset: Preset,
  sharing: str | tuple[bool, ...],
  sizes: Mapping[str, tuple[int, ...] | None],
  **options,
) -> TransferCNN:
  """The network of the preset, save for the sizes that are given."""
  made = sizes_of(preset, sizes)
  depth = len(made["channels"])
  return TransferCNN(
    spec.num_outputs,
    outputs_by_task(spec, name),
    kinds(depth),
    None if sharing == SEARCHED else resolve_sharing(sharing, depth),
    **made,
    **options,
  )


def sizes_of(preset: Preset, sizes: Mapping[str, tuple[int, ...] | None]) -> dict[str, Any]:
  """Those of the preset, save the ones that are given; its skips go with its convolutions.

  Raises:
    ValueError: if they are not of the same number of convolutions.
  """
  given = {key: value for key, value in sizes.items() if value is not None}
  made = {**PRESETS[preset], **({"skips": ()} if given.keys() - {"hidden"} else {}), **given}
  lengths = {key: len(made[key]) for key in ("channels", "kernels", "pools")}
  if len({*lengths.values()}) > 1:
    key = next(key for key in lengths if key in given)
    others = ", ".join(f"{number} {one}" for one, number in lengths.items() if one != key)
    raise ValueError(
      f"{key}={given[key]!r} has {lengths[key]} values, and there are {others}: give channels, "
      "kernels and pools, one value for each convolution"
    )
  return made


@register("hps", kind="model")
def hps(
  spec: StreamSpec,
  *,
  preset: Preset = "cifar",
  sharing: str | tuple[bool, ...] = "all",
  channels: tuple[int, ...] | None = None,
  kernels: tuple[int, ...] | None = None,
  pools: tuple[int, ...] | None = None,
  hidden: tuple[int, ...] | None = None,
  dropout: float = 0.5,
  compute_dtype: jnp.dtype = jnp.float32,
) -> TransferCNN:
  """Hard parameter sharing: shared convolutions are the same for all tasks, biases included.

  Args:
    spec: the stream, of the scenario `"task"`.
    preset: the sizes of `lasem_cnn`.
    sharing: which convolutions are shared: `"all"`, `"none"`, `"top-2"` (the two nearest to the
      output), `"bottom-2"`, `"alternating"`, `"alternating-2"`, a row such as `"FFTT"` or `(False,
      True)`; or `"searched"`, which methods such as `lasem` need.
    channels: output channels of each convolution; None: the preset's.
    kernels: height and width of each kernel, odd; None: the preset's.
    pools: size and stride of each max-pool, 1: none; None: the preset's.
    hidden: widths of the hidden linear layers; None: the preset's.
    dropout: probability that a feature is dropped in training, after the convolutions; in [0, 1).
    compute_dtype: see `TransferCNN`.

  Raises:
    ValueError: if the scenario is not `"task"`, `sharing` is unknown or has not a value for each
      convolution, or the sizes are not of the same number of layers.

  >>> import numpy as np
  >>> spec = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool), "task", (32, 32, 3))
  >>> hps(spec, sharing="top-2").sharing
  (False, False, True, True)
  """
  sizes = {"channels": channels, "kernels": kernels, "pools": pools, "hidden": hidden}
  options = {"dropout": dropout, "compute_dtype": compute_dtype}
  return _network(
    spec, _everywhere(HPS()), "hps", preset=preset, sharing=sharing, sizes=sizes, **options
  )


@register("tf", kind="model")
def tf(
  spec: StreamSpec,
  *,
  preset: Preset = "cifar",
  sharing: str | tuple[bool, ...] = "all",
  channels: tuple[int, ...] | None = None,
  kernels: tuple[int, ...] | None = None,
  pools: tuple[int, ...] | None = None,
  hidden: tuple[int, ...] | None = None,
  dropout: float = 0.5,
  compute_dtype: jnp.dtype = jnp.float32,
) -> TransferCNN:
  """Tensor factorization: shared kernels are a common tensor, multiplied by matrices of each task.

  The orthogonality loss of the matrices is in the method `factor_penalty`.

  Args:
    spec: see `hps`.
    preset: the sizes of `lasem_cnn`; STL-10's has a single hidden layer of 128 here.
    sharing: see `hps`.
    channels: see `hps`.
    kernels: see `hps`.
    pools: see `hps`.
    hidden: see `hps`.
    dropout: see `hps`.
    compute_dtype: see `TransferCNN`.

  Raises:
    ValueError: see `hps`.
  """
  if hidden is None and preset.startswith("stl10"):
    hidden = PRESETS[preset]["hidden"][:1]
  sizes = {"channels": channels, "kernels": kernels, "pools": pools, "hidden": hidden}
  options = {"dropout": dropout, "compute_dtype": compute_dtype}
  return _network(
    spec, _everywhere(TF()), "tf", preset=preset, sharing=sharing, sizes=sizes, **options
  )


@register("dfcnn", kind="model")
def dfcnn(
  spec: StreamSpec,
  *,
  preset: Preset = "cifar",
  sharing: str | tuple[bool, ...] = "all",
  channels: tuple[int, ...] | None = None,
  kernels: tuple[int, ...] | None = None,
  pools: tuple[int, ...] | None = None,
  hidden: tuple[int, ...] | None = None,
  base_channels: tuple[int, ...] | None = None,
  filter_sizes: tuple[int, ...] | None = None,
  filter_channels: tuple[int, ...] | None = None,
  dropout: float = 0.5,
  compute_dtype: jnp.dtype = jnp.float32,
) -> TransferCNN:
  """Deconvolutional factorization: shared kernels are generated of a common base by each task.

  Args:
    spec: see `hps`.
    preset: the sizes of `lasem_cnn` and of the generators; "seventeen_layers" has none of these.
    sharing: see `hps`.
    channels: see `hps`.
    kernels: see `hps`.
    pools: see `hps`.
    hidden: see `hps`.
    base_channels: channels of each layer's base; None: the preset's.
    filter_sizes: height and width of the filters that enlarge the base; None: the preset's.
    filter_channels: their output channels; None: the preset's.
    dropout: see `hps`.
    compute_dtype: see `TransferCNN`.

  Raises:
    ValueError: see `hps`; or if the generators have not a value for each convolution.
  """
  sizes = {"channels": channels, "kernels": kernels, "pools": pools, "hidden": hidden}
  options = {"dropout": dropout, "compute_dtype": compute_dtype}
  generators = {
    "base_channels": base_channels,
    "filter_sizes": filter_sizes,
    "filter_channels": filter_channels,
  }

  def kinds(depth: int) -> tuple[DFCNN, ...]:
    known = FACTORS.get(preset, {})
    made = {key: known.get(key, ()) if one is None else one for key, one in generators.items()}
    for key, values in made.items():
      if len(values) != depth:
        raise ValueError(
          f"{key}={values!r} has {len(values)} values: give one for each of the {depth} "
          "convolutions"
        )
    return tuple(map(DFCNN, *made.values()))

  return _network(spec, kinds, "dfcnn", preset=preset, sharing=sharing, sizes=sizes, **options)
