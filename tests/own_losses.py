"""One step of methods with a loss of their own, and a pass of the tiny network in float64."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.engine.learner import make_learner

KEY = jax.random.key(0)


def numpy_pass(params, image):
  """Features and logits of `helpers.TinyModel` in float64."""
  p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = np.asarray(image, np.float64).reshape(len(image), -1) / 255
  hidden = np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
  return hidden, hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def mixed_batch(stream, task):
  """Examples of a task and of those before it; every third row does not count."""
  parts = [helpers.batch(stream, old, 4) for old in range(task + 1)]
  batch = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
  return batch._replace(mask=jnp.arange(len(batch.mask)) % 3 != 2)


def head_gradient(method, stream, batch, task, change):
  """Of one step, and the parameters of network and teacher; `change` sets the method's state."""
  learner = make_learner(helpers.TinyModel(stream.num_outputs), method, stream)
  state = learner.init(KEY)
  teacher = learner.init(jax.random.key(1)).variables["params"]
  before = state.variables["params"]
  state = state._replace(method=change(state.method, teacher))
  after, _ = jax.jit(lambda s: learner.step(s, batch, jnp.int32(task), phase="train"))(state)
  change = jax.tree.map(lambda one, two: np.asarray(one - two), before, after.variables["params"])
  return change["Dense_1"], before, teacher
