"""Calls of networks with variables that leave nothing at its initial value, and layers in NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def call(image):
  """The arguments of a network besides the image."""
  return {"task_id": jnp.zeros(len(image), jnp.int32), "mask": jnp.ones(len(image), bool)}


def images(pixels, rows=3, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  height, width = (pixels, pixels) if isinstance(pixels, int) else pixels
  return rng.uniform(-1, 1, (rows, height, width, channels)).astype(np.float32)


def shapes(model, *image_shape):
  """Shapes of the logits and variables for one image."""
  image = jnp.zeros((1, *image_shape))
  init = functools.partial(model.init_with_output, train=False)
  return jax.eval_shape(init, jax.random.key(0), image, **call(image))


def num_parameters(model, *image_shape):
  _, variables = shapes(model, *image_shape)
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def initialised(model, *image_shape):
  image = jnp.zeros((1, *image_shape))
  init = jax.jit(functools.partial(model.init, train=False))
  return init(jax.random.key(0), image, **call(image))


def randomised(model, *image_shape, seed=0):
  """Variables of which each one matters."""
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = path[-1].key
    if name in ("scale", "var"):
      value = rng.uniform(0.5, 1.5, leaf.shape)
    else:
      fan_in = math.prod(leaf.shape[:-1]) if name == "kernel" else 10
      value = rng.normal(size=leaf.shape) * math.sqrt(2 / fan_in)
    return value.astype(np.float32)

  return jax.tree.map_with_path(draw, shapes(model, *image_shape)[1])


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, variables, image, *, train=False, seed=0):
  """Logits, and the variables that a training pass changes."""
  rngs = {"dropout": jax.random.key(seed)}
  return model.apply(
    variables, image, train=train, rngs=rngs, mutable=["batch_stats"], **call(image)
  )


def in_float64(tree):
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def convolve(x, layer, stride=1, padding=None):
  """PyTorch's convolution: zeros on all sides, then windows from the corner on."""
  kernel = layer["kernel"]
  size = len(kernel)
  margin = size // 2 if padding is None else padding
  x = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
  out = np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)
  return out + layer.get("bias", 0)


def max_pool(x, size, stride, margins=((0, 0), (0, 0))):
  """Largest values of windows; `margins` around the image can win nowhere."""
  x = np.pad(x, ((0, 0), *margins, (0, 0)), constant_values=-np.inf)
  windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
  return windows[:, ::stride, ::stride].max((-2, -1))


def normalise(x, layer, statistics, epsilon=1e-5):
  """Batch normalisation by running averages."""
  scaled = (x - statistics["mean"]) / np.sqrt(statistics["var"] + epsilon)
  return scaled * layer["scale"] + layer["bias"]


def dense(x, layer):
  return x @ layer["kernel"] + layer.get("bias", 0)


def relu(x):
  return np.maximum(x, 0)
