"""Microseconds an image of each 3x3 convolution of the reduced ResNet, by ways to compute it.

Each layer alone, inside a compiled loop: its forward pass in evaluation batches, and forward pass
with the gradients of image and kernel in training batches. "direct" is XLA's convolution, "patches"
one product of matrices (`tagjax.models.convolution`). With gradients, the columns name the way of
the forward pass and of the image's gradient; the kernel's gradient is taken by patches in all. The
floor is the time of the products at the rate of large square matrices.

  python -m bench.convolution_layers [--rounds=5]
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp

from tagjax.models.convolution import by_patches, direct

# Side of the image, channels in and out, stride.
LAYERS = (
  (32, 3, 20, 1),
  (32, 20, 20, 1),
  (32, 20, 40, 2),
  (16, 40, 40, 1),
  (16, 40, 80, 2),
  (8, 80, 80, 1),
  (8, 80, 160, 2),
  (4, 160, 160, 1),
)
EVALUATION, TRAINING, IMAGES = 100, 10, 1000


def mixed(forward, image_gradient):
  """A convolution with the two ways given."""

  @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
  def convolve(image, kernel, stride):
    return forward(image, kernel, stride)

  def save(image, kernel, stride):
    return forward(image, kernel, stride), (image, kernel)

  def pull_back(stride, saved, cotangent):
    image, kernel = saved
    _, of_image = jax.vjp(lambda image: image_gradient(image, kernel, stride), image)
    _, of_kernel = jax.vjp(lambda kernel: by_patches(image, kernel, stride), kernel)
    return of_image(cotangent)[0], of_kernel(cotangent)[0]

  convolve.defvjp(save, pull_back)
  return convolve


def mirrored(image, kernel, stride):
  """`direct`, whose gradient is a convolution of the cotangent spread out, not a dilated one."""
  height, width = image.shape[1:3]
  rows, columns = -(-height // stride), -(-width // stride)

  @jax.custom_vjp
  def convolve(image):
    return direct(image, kernel, stride)

  def pull_back(_, cotangent):
    holes = [
      (0, 0, 0),
      (0, height - (stride * (rows - 1) + 1), stride - 1),
      (0, width - (stride * (columns - 1) + 1), stride - 1),
      (0, 0, 0),
    ]
    spread = jax.lax.pad(cotangent, jnp.zeros(()), holes)
    return (direct(spread, kernel[::-1, ::-1].swapaxes(2, 3), 1),)

  convolve.defvjp(lambda image: (convolve(image), None), pull_back)
  return convolve(image)


FORWARD = {"direct": direct, "patches": by_patches}
GRADIENTS = {
  "patches, patches": by_patches,
  "direct, patches": mixed(direct, by_patches),
  "patches, direct": mixed(by_patches, mirrored),
  "direct, direct": mixed(direct, mirrored),
}


def make_forward(convolve, stride):
  @jax.jit
  def run(image, kernel, steps):
    def body(_, image):  # a changing image, so that nothing moves out of the loop
      out = convolve(image, kernel, stride)
      return image.at[0, 0, 0, 0].set(1e-9 * out[0, 0, 0, 0])

    return jax.lax.fori_loop(0, steps, body, image)

  return run


def make_gradients(convolve, stride):
  def loss(image, kernel):
    return jnp.sum(jnp.square(convolve(image, kernel, stride)))

  @jax.jit
  def run(image, kernel, steps):
    def body(_, pair):
      return jax.tree.map(lambda x, g: x - 1e-9 * g, pair, jax.grad(loss, (0, 1))(*pair))

    return jax.lax.fori_loop(0, steps, body, (image, kernel))

  return run


def microseconds(runs, layer, batch, rounds):
  """Medians over alternating rounds, for one image."""
  side, channels, features, _ = layer
  image = jax.random.normal(jax.random.key(0), (batch, side, side, channels))
  kernel = 0.01 * jax.random.normal(jax.random.key(1), (3, 3, channels, features))
  steps, times = IMAGES // batch, {name: [] for name in runs}
  for number in range(rounds + 1):  # the first compiles
    for name, run in runs.items():
      start = time.perf_counter()
      jax.block_until_ready(run(image, kernel, steps))
      if number:
        times[name].append(1e6 * (time.perf_counter() - start) / steps / batch)
  return {name: statistics.median(values) for name, values in times.items()}


def matrix_rate(size=1024, repeats=20):
  """Floating point operations a second of products of square matrices."""
  matrix, multiply = jnp.ones((size, size)), jax.jit(jnp.matmul)
  multiply(matrix, matrix).block_until_ready()
  start = time.perf_counter()
  for _ in range(repeats):
    multiply(matrix, matrix).block_until_ready()
  return repeats * 2 * size**3 / (time.perf_counter() - start)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=5)
  rounds = parser.parse_args().rounds
  rate = matrix_rate()
  print(f"jax {jax.__version__}, {jax.default_backend()}; microseconds an image, {rounds} rounds")
  for title, ways, make, batch, passes in (
    ("forward pass", FORWARD, make_forward, EVALUATION, 1),
    ("with gradients", GRADIENTS, make_gradients, TRAINING, 3),
  ):
    print(f"\n{title + f', batch {batch}':28}" + "".join(f"{n:>18}" for n in [*ways, "floor"]))
    for layer in LAYERS:
      side, channels, features, stride = layer
      runs = {name: make(convolve, stride) for name, convolve in ways.items()}
      found = microseconds(runs, layer, batch, rounds)
      work = passes * 2 * (side // stride) ** 2 * 9 * channels * features
      name = f"{side}x{side} {channels}->{features} stride {stride}"
      values = [*found.values(), 1e6 * work / rate]
      print(f"{name:28}" + "".join(f"{value:18.0f}" for value in values))


if __name__ == "__main__":
  main()
