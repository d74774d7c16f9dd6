"""The naive learners: one optimizer for the whole stream, as if there were no tasks.

Their state is not reset at task boundaries. The constants are those of the TAG benchmark (PyTorch's
formulas: epsilon outside the square root, accumulators that start at 0), which are not Optax's.

References:
  Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
  CoLLAs 2022.
"""

import chex
import jax
import jax.numpy as jnp
import optax

LearningRate = optax.ScalarOrSchedule


def sgd(learning_rate: LearningRate) -> optax.GradientTransformation:
  """Plain stochastic gradient descent: `p <- p - lr g`; no momentum."""
  return optax.sgd(learning_rate)


def rmsprop(learning_rate: LearningRate) -> optax.GradientTransformation:
  """RMSProp: `v <- 0.99 v + 0.01 g^2`, `p <- p - lr g / (sqrt(v) + 1e-8)`; v starts at 0."""
  return optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)


def adam(learning_rate: LearningRate) -> optax.GradientTransformation:
  """Adam with beta (0.9, 0.999) and epsilon 1e-8; its step counter runs over the whole stream."""
  return optax.adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8)


def adagrad(learning_rate: LearningRate) -> optax.GradientTransformation:
  """Adagrad: `s <- s + g^2`, `p <- p - lr g / (sqrt(s) + 1e-10)`; s starts at 0.

  Differs from `optax.adagrad`, which starts s at 0.1 and adds epsilon inside the root.
  """

  def init(params):
    return optax.ScaleByRssState(sum_of_squares=jax.tree.map(jnp.zeros_like, params))

  def update(updates: chex.ArrayTree, state: optax.ScaleByRssState, params=None):
    del params
    total = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
    updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + 1e-10), updates, total)
    return updates, optax.ScaleByRssState(sum_of_squares=total)

  return optax.chain(
    optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate)
  )
