"""Networks whose hidden layers are units that a task may have or not: their layers and edges.

Such a network has parameters `conv0`, `conv1`, ..., `hidden0`, ..., each with `kernel` and `bias`,
one after another, then `head`. Convolutions are flattened channels last, so a kernel's inputs are
the units of the layer below, over and over.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import chex
import jax.numpy as jnp

ATTENTION = "attention"
"""Of the parameters: embeddings `[T, U]` by layer; of the variables: the collection of `scale`."""

STAMPS = "stamps"
"""The collection of `born` and `until`, int32 `[U]` by layer."""

UNBORN = 2**30
"""The stamp of a unit that is not there yet, and of the end of one that has none."""

_NAME = re.compile(r"(conv|hidden)(\d+)")


def hidden_layers(params: Iterable[str]) -> list[str]:
  """The names of the layers of units, from the image on.

  >>> hidden_layers({"hidden0": {}, "conv10": {}, "conv9": {}, "head": {}})
  ['conv9', 'conv10', 'hidden0']
  """
  found = [match for match in map(_NAME.fullmatch, params) if match]
  return [match[0] for match in sorted(found, key=lambda match: (match[1], int(match[2])))]


class Layer(NamedTuple):
  """A layer, the one below it, and its units.

  Attributes:
    name: of it.
    below: name of the layer below; None: the image.
    units: U; K of the head.
  """

  name: str
  below: str | None
  units: int


def layers(params: Mapping[str, Any]) -> Iterator[Layer]:
  """The layers of units from the image on, and the head last."""
  below = None
  for name in [*hidden_layers(params), "head"]:
    yield Layer(name, below, params[name]["kernel"].shape[-1])
    below = name


def below_head(params: Mapping[str, Any]) -> list[Layer]:
  """The layers of units, without the head."""
  return list(layers(params))[:-1]


def repeated(units: chex.Array, kernel: chex.Array) -> chex.Array:
  """`[U]` of the layer below -> `[I]`, for each input of the kernel `[..., I, O]`.

  >>> repeated(jnp.array([1, 2]), jnp.zeros((4, 3))).tolist()
  [1, 2, 1, 2]
  """
  return jnp.tile(units, kernel.shape[-2] // units.shape[-1])


def by_unit(kernel: chex.Array, units: int) -> chex.Array:
  """A kernel `[..., I, O]` as `[N, U, O]`: the N edges between each pair of units.

  >>> by_unit(jnp.arange(8).reshape(4, 2), 2)[:, 1].tolist()
  [[2, 3], [6, 7]]
  """
  return kernel.reshape(-1, units, kernel.shape[-1])


def wide(values: chex.Array, leaf: chex.Array) -> chex.Array:
  """`[O]` beside a leaf `[..., O]`."""
  return values.reshape((1,) * (leaf.ndim - 1) + (-1,))


def inputs_of(units: Mapping[str, chex.Array], layer: Layer, kernel: chex.Array) -> chex.Array:
  """Of each input of the layer, its unit's value, `[..., I, 1]`; True for those of the image."""
  if layer.below is None:
    values = jnp.ones(kernel.shape[-2], bool)
  else:
    values = repeated(units[layer.below], kernel)
  return values.reshape((1,) * (kernel.ndim - 2) + (-1, 1))


def edges_in_use(
  params: Mapping[str, Any], units: Mapping[str, chex.Array]
) -> dict[str, dict[str, chex.Array]]:
  """What lies between these units, bools that broadcast to kernel and bias of each layer.

  Args:
    params: by layer.
    units: bool `[U]` by layer. If they have no head, all of its outputs count.
  """
  masks = {}
  for layer in layers(params):
    kernel = params[layer.name]["kernel"]
    above = units.get(layer.name, jnp.ones(layer.units, bool))
    inside = inputs_of(units, layer, kernel) & wide(above, kernel)
    masks[layer.name] = {"kernel": inside, "bias": above}
  return masks
