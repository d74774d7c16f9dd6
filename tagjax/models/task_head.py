"""Hidden layers and a head of each task's own, and where the outputs of a task stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.types import StreamSpec
from tagjax.models.transfer_layers import Drawn, plain_bias, plain_kernel

Classes = tuple[tuple[int, ...], ...]
"""The outputs of each task."""


def outputs_by_task(spec: StreamSpec, name: str) -> Classes:
  """The outputs of each task, of a stream whose tasks are known in evaluation.

  Args:
    spec: the stream.
    name: of the model, for the message.

  Raises:
    ValueError: in other scenarios.
  """
  if spec.scenario != "task":
    raise ValueError(
      f"{name} has layers of each task's own, and scenario={spec.scenario!r} does not tell the "
      "task of a test example: use the scenario 'task', or a model without such layers, lasem_cnn"
    )
  return tuple(tuple(map(int, np.flatnonzero(row))) for row in spec.classes)


def linear_layers(inputs: int, hidden: Sequence[int], classes: Classes) -> dict[str, Drawn]:
  """The parameters of hidden layers and head by layer; the head is as wide as its task needs."""
  layers = {}
  names = [*(f"hidden{layer}" for layer in range(len(hidden))), "head"]
  for name, outputs in zip(names, [*hidden, max(map(len, classes))], strict=True):
    layers[name] = {"kernel": (plain_kernel, (inputs, outputs)), "bias": (plain_bias, (outputs,))}
    inputs = outputs
  return layers


def linear_logits(
  features: chex.Array, layers: Mapping[str, Any], hidden: Sequence[int]
) -> chex.Array:
  """`[n, B, F]` -> `[n, B, C]` by one task's layers."""
  x = features
  for name in [*(f"hidden{layer}" for layer in range(len(hidden))), "head"]:
    kernel, bias = (layers[name]["task"][leaf].astype(x.dtype) for leaf in ("kernel", "bias"))
    x = x @ kernel + bias.reshape(1, 1, -1)
    x = x if name == "head" else nn.relu(x)
  return x


def drop(x: chex.Array, rate: float, key: chex.PRNGKey | None) -> chex.Array:
  """`x` with values dropped and the others scaled up; as it is without a key."""
  if key is None:
    return x
  kept = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def placed(logits: chex.Array, task: chex.Array, classes: Classes, num_outputs: int) -> chex.Array:
  """`[..., C]` of a task's own outputs at their places among all K, 0 elsewhere; float32."""
  width = logits.shape[-1]
  places = np.full((len(classes), num_outputs), width)
  for row, outputs in zip(places, classes, strict=True):
    row[list(outputs)] = np.arange(len(outputs))
  nothing = jnp.zeros((*logits.shape[:-1], 1), logits.dtype)
  found = jnp.take(jnp.concatenate([logits, nothing], -1), jnp.asarray(places)[task], axis=-1)
  return found.astype(jnp.float32)


def split(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
  """The parameters of all tasks, and those with a row a task, both by layer."""
  shared = {name: layer.get("shared", {}) for name, layer in params.items()}
  own = {
    name: {part: value for part, value in layer.items() if part != "shared"}
    for name, layer in params.items()
  }
  return shared, own


def drawn(parts: Mapping[str, Drawn], by_task: Callable) -> Callable:
  """An initializer of the parts of a layer: `shared` as it is, others through `by_task`."""

  def draw(key):
    values: dict[str, dict[str, Any]] = {}
    for part, leaves in parts.items():
      for leaf, (initializer, shape) in leaves.items():
        key, own = jax.random.split(key)
        make = initializer if part == "shared" else by_task(initializer)
        values.setdefault(part, {})[leaf] = make(own, shape)
    return values

  return draw
