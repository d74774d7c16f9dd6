"""What the learner does with a model: initial variables, logits, loss and gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.core.method import ApplyFn
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.engine.arguments import asked
from tagjax.engine.model import as_model, initial_variables
from tagjax.input_pipeline.augmentation import Augmentation, augment, check_augmentable
from tagjax.input_pipeline.normalization import normalizer

_OF_IMAGES = 1  # folded into a pass's key for its images, so that dropout draws as without them


class ModelFns(NamedTuple):
  """A model as pure functions.

  Attributes:
    init: `key -> variables`.
    apply: see `tagjax.core.method.ApplyFn`.
    value_and_grad: `(variables, batch, *, key, train, loss_fn) -> ((loss, (logits, variables)),
      grad)`, with loss and gradient averaged over the devices.
    average: a tree of this device -> its mean over all devices.
    gather: a batch of this device -> that of all devices.
  """

  init: Callable[[chex.PRNGKey], Variables]
  apply: ApplyFn
  value_and_grad: Callable[..., tuple]
  average: Callable[[chex.ArrayTree], chex.ArrayTree]
  gather: Callable[[Batch], Batch]


def make_model_fns(
  model: Any,
  spec: StreamSpec,
  *,
  max_value: float,
  normalization: str,
  augmentation: Augmentation,
  axis_name: str | None,
  pretrained: Variables | None,
  mean_image: np.ndarray | None = None,
) -> ModelFns:
  """See `tagjax.engine.learner.make_learner`, which has the same arguments.

  Raises:
    ValueError: if normalization or augmentation do not fit the stream's images.
  """
  normalize = normalizer(normalization, max_value, spec.image_shape, spec.image_dtype, mean_image)
  check_augmentable(augmentation, spec.image_shape, spec.image_dtype)
  average, gather = _collectives(axis_name)
  network = as_model(model, spec, axis_name=axis_name)

  def init(key: chex.PRNGKey) -> Variables:
    variables = initial_variables(network, spec, key)
    return variables if pretrained is None else _overlaid(variables, pretrained)

  def apply(variables: Variables, batch: Batch, *, key=None, train=False, features=False):
    key = None if key is None else _device_key(key, axis_name)
    image = batch.image
    if augmentation and train and key is not None:
      image = augment(jax.random.fold_in(key, _OF_IMAGES), image, augmentation, max_value)
    return network.apply(
      variables,
      normalize(image),
      task_id=batch.task_id,
      mask=batch.mask,
      train=train,
      key=key,
      **asked(features),
    )

  def value_and_grad(variables: Variables, batch: Batch, *, key, train, loss_fn):
    def objective(params):
      logits, changed = apply({**variables, "params": params}, batch, key=key, train=train)
      return loss_fn(logits, batch), (logits, changed)

    (loss, aux), grad = jax.value_and_grad(objective, has_aux=True)(variables["params"])
    loss, grad = average((loss, grad))
    return (loss, aux), grad

  return ModelFns(init, apply, value_and_grad, average, gather)


def _collectives(axis_name: str | None) -> tuple[Callable, Callable]:
  """`(average over devices, gather a batch from all devices)`; identities on one device."""
  if axis_name is None:
    return lambda tree: tree, lambda batch: batch
  return (
    functools.partial(jax.lax.pmean, axis_name=axis_name),
    functools.partial(jax.lax.all_gather, axis_name=axis_name, tiled=True),
  )


def _device_key(key: chex.PRNGKey, axis_name: str | None) -> chex.PRNGKey:
  """Draws must differ between devices, or the examples of two devices share their masks."""
  return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def _overlaid(variables: Variables, pretrained: Variables) -> Variables:
  """`variables` with the arrays of `pretrained` in their places."""
  flatten = flax.traverse_util.flatten_dict
  arrays = jax.tree.map(jnp.asarray, flatten(pretrained))
  return flax.traverse_util.unflatten_dict(flatten(variables) | arrays)
