"""Which outputs compete for an example, and the cross-entropy over them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.core.method import Step
from tagjax.core.types import StreamSpec

# A finite stand-in for minus infinity: its softmax is exactly 0 in float32 and, unlike infinity,
# it leaves no NaN where a whole row is masked.
MASKED_LOGIT = -1e9


def active_outputs(spec: StreamSpec, task_id: chex.Array, current_task: chex.Numeric) -> chex.Array:
  """The outputs over which the softmax of each example runs.

  Args:
    spec: the stream's head.
    task_id: int32 `[B]`, the task of each example; used in the scenario `"task"`.
    current_task: int32 scalar, the last task that was begun; used in the scenario `"class"`,
      where all outputs seen so far compete.

  Returns:
    bool `[B, K]`.
  """
  if spec.scenario == "task":
    return jnp.asarray(spec.classes)[task_id]
  if spec.scenario == "class":
    seen = np.logical_or.accumulate(spec.classes, axis=0)
    row = jnp.asarray(seen)[current_task]
    return jnp.broadcast_to(row, (task_id.shape[0], spec.num_outputs))
  return jnp.ones((task_id.shape[0], spec.num_outputs), bool)


def mask_logits(logits: chex.Array, active: chex.Array) -> chex.Array:
  """`logits` where `active`, else a value whose softmax is 0 (no gradient flows through it)."""
  return jnp.where(active, logits, jnp.asarray(MASKED_LOGIT, logits.dtype))


def cross_entropy(logits: chex.Array, label: chex.Array, active: chex.Array) -> chex.Array:
  """Cross-entropy of each example over its active outputs, in nats.

  `-log(exp(z_y) / sum_{k active} exp(z_k))`.

  Args:
    logits: float `[B, K]`.
    label: int32 `[B]`; must be active, else the loss is about 1e9.
    active: bool `[B, K]`.

  Returns:
    float `[B]`.
  """
  return optax.softmax_cross_entropy_with_integer_labels(mask_logits(logits, active), label)


def binary_cross_entropy(logits: chex.Array, label: chex.Array, active: chex.Array) -> chex.Array:
  """Binary cross-entropy of each example over its active outputs against a one-hot target.

  `-(1/C) sum_{k active} [k = y] log σ(z_k) + [k ≠ y] log(1 - σ(z_k))`, C the number of them.

  Args:
    logits: float `[B, K]`.
    label: int32 `[B]`; must be active.
    active: bool `[B, K]`.

  Returns:
    float `[B]`, in nats; 0 where no output is active.

  >>> binary_cross_entropy(jnp.zeros((1, 3)), jnp.array([1]), jnp.array([[True, True, False]]))
  Array([0.6931472], dtype=float32)
  """
  target = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
  values = optax.sigmoid_binary_cross_entropy(logits, target)
  count = jnp.maximum(jnp.sum(active, axis=-1), 1).astype(logits.dtype)
  return jnp.sum(jnp.where(active, values, 0), axis=-1) / count


def masked_mean(values: chex.Array, mask: chex.Array, count: chex.Numeric) -> chex.Array:
  """Sum of `values` where `mask`, over `count`; 0 where `count` is 0.

  `count` is given because on several devices it is the mean count per device, so that the mean
  over devices of this figure is the mean over all valid examples.
  """
  return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1e-9)


def mean_count(at: Step) -> chex.Array:
  """Valid examples of the current batch a device, float32 scalar: the count of `masked_mean`."""
  everywhere = at.gather(at.batch.mask)
  devices = everywhere.shape[0] // at.batch.mask.shape[0]
  return jnp.sum(everywhere, dtype=jnp.float32) / devices
