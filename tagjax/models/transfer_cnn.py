"""A convolutional network of many tasks, each layer of which is shared by them or each task's own.

The networks are those of LASEM (`tagjax.models.lasem_network`), with hidden layers and a head for
each task.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.by_task import by_task, only_task
from tagjax.core.sharing import MIXED, OWN, ROUTED, ROUTING, SEARCHED, SHARED, resolve_sharing
from tagjax.core.types import StreamSpec, Variables
from tagjax.models.branches import Chosen, branched, by_image, continued, taken
from tagjax.models.checks import check_image
from tagjax.models.lasem_network import LasemNetwork
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
from tagjax.models.transfer_layers import Drawn, Transfer, plain


class TransferCNN(LasemNetwork, kw_only=True):
  """A `LasemNetwork` whose convolutions are shared or not, and all else is each task's own.

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
    classes: the outputs of each task, T tuples.
    transfer: the kind of transfer of each layer, L values.
    sharing: which layers are shared, L values; None: searched.

  Differs from the reference code: a skip is added after the ReLU in all networks; a searched
  network computes a layer once for all configurations that begin alike.
  """

  classes: Classes
  transfer: tuple[Transfer, ...]
  sharing: tuple[bool, ...] | None

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
      chosen = Chosen(candidates, sharing, routing.get("mixture"))
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
    for outputs, pool in zip(self.channels, self.pools, strict=True):
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
    for layer, shares in enumerate(jnp.moveaxis(variables[ROUTING]["sharing"], 1, 0)):
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
    self.variable(ROUTING, "sharing", jnp.ones, shape, bool)
    return self.variables[ROUTING]

  def _parameters(self, image: chex.Array) -> dict[str, dict[str, Any]]:
    """All of them by layer and part; the last axes of a row are those of one task's values."""
    params = {}
    for layer, (sizes, kind) in enumerate(
      zip(self.sizes(image.shape[-1]), self.transfer, strict=True)
    ):
      parts: dict[str, Drawn] = {}
      if self.sharing is None or self.sharing[layer]:
        parts |= {"shared": kind.shared(sizes), "factors": kind.factors(sizes)}
      if self.sharing is None or not self.sharing[layer]:
        parts |= {"task": plain(sizes)}
      params[f"conv{layer}"] = self._drawn(f"conv{layer}", parts)
    linear = linear_layers(self.num_features(*image.shape[1:3]), self.hidden, self.classes)
    return params | {name: self._drawn(name, {"task": leaves}) for name, leaves in linear.items()}

  def _drawn(self, name: str, parts: Mapping[str, Drawn]) -> dict[str, Any]:
    """The parameters of a layer: drawn at first, then as they are."""
    by_task = functools.partial(drawn_by_task, num_tasks=len(self.classes))
    return self.param(name, drawn(parts, by_task))

  def _convolutions(self, x, shared, layers, chosen: Chosen) -> chex.Array:
    """Features `[n, B, H, W, C]` of all candidates."""
    begun, x = [()], x[None]
    inputs = []
    for layer, pool in enumerate(self.pools):
      inputs.append((begun, x))
      compute = self._layer(layer, shared, layers, chosen)
      begun, x = branched(begun, x, chosen.beginnings(layer + 1), compute)
      if (first := self.skipped(layer)) is not None:
        self.check_skip(layer, inputs[first][1], x)
        x = x + continued(*inputs[first], begun)
      x = by_image(lambda image, pool=pool: max_pool_same(image, pool), x)
    order = [begun.index(row) for row in chosen.beginnings(len(self.kernels), distinct=False)]
    return taken(x, order)

  def _layer(self, layer: int, shared, layers, chosen: Chosen) -> Callable:
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


def transfer_cnn(
  spec: StreamSpec,
  name: str,
  sharing: str | tuple[bool, ...],
  transfer: tuple[Transfer, ...],
  **fields: Any,
) -> TransferCNN:
  """A network for the stream.

  Args:
    spec: the stream, of the scenario `"task"`.
    name: of the model, for messages.
    sharing: see `tagjax.models.hps`.
    transfer: the kind of transfer of each layer.
    **fields: of the `LasemNetwork`.

  Raises:
    ValueError: see `tagjax.models.hps`.
  """
  rows = None if sharing == SEARCHED else resolve_sharing(sharing, len(transfer))
  classes = outputs_by_task(spec, name)
  return TransferCNN(spec.num_outputs, classes=classes, transfer=transfer, sharing=rows, **fields)
