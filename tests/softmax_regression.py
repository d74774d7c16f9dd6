"""Softmax regression as a model and in closed form (float64), for the tests of replay methods."""

import flax.linen as nn
import jax
import numpy as np


class Linear(nn.Module):
  """Softmax regression."""

  num_outputs: int

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    del task_id, mask, train
    return nn.Dense(self.num_outputs)(image.reshape(image.shape[0], -1))


def weights(variables):
  """Kernel and bias as one float64 matrix `[D + 1, K]`."""
  dense = variables["params"]["Dense_0"]
  return np.vstack([dense["kernel"], dense["bias"][None]]).astype(np.float64)


def active_rows(spec, batch, task):
  if spec.scenario == "task":
    return spec.classes[np.asarray(batch.task_id)]
  seen = spec.classes[: task + 1].any(axis=0)
  return np.broadcast_to(seen, (len(batch.label), spec.num_outputs))


def features(batch):
  image = np.asarray(batch.image, np.float64).reshape(len(batch.label), -1) / 255
  return np.hstack([image, np.ones((len(image), 1))])


def cross_entropy_gradient(matrix, batch, active):
  """Of the mean over the valid rows, in closed form: `X' (softmax - onehot) / n`."""
  x, mask = features(batch), np.asarray(batch.mask)
  z = np.where(active, x @ matrix, -np.inf)
  p = np.exp(z - z.max(axis=1, keepdims=True))
  p /= p.sum(axis=1, keepdims=True)
  error = (p - np.eye(matrix.shape[1])[np.asarray(batch.label)])[mask]
  return x[mask].T @ error / mask.sum()


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(one, two):
  for a, b in zip(leaves(one), leaves(two), strict=True):
    np.testing.assert_array_equal(a, b)


def differ(one, two):
  return any((a != b).any() for a, b in zip(leaves(one), leaves(two), strict=True))
