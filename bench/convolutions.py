"""Milliseconds per training step of the reduced ResNet for each way to compute a convolution.

A step is forward, gradient and SGD on a batch of 10 images of 32 pixels. Each lowering is timed in
the body of a `lax.while_loop` with a traced number of trips and a donated carry, and as a jitted
step called from Python. Rounds of all variants alternate, so that a disturbance of the machine hits
all of them; medians and minima over rounds, of wall clock and of processor time (which other
programs on the machine disturb less).

    nice python bench/convolutions.py [--seeds=3] [--rounds=9] [--only=patches,direct] [--unmasked]
"""

import argparse
import functools
import math
import statistics
import time

import jax
import jax.numpy as jnp
import optax

from tagjax.models import ReducedResNet, convolution

BATCH, PIXELS, OUTPUTS = 10, 32, 100


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def undilated(image, kernel, stride):
  """Convolutions everywhere, but none dilated; the kernel's gradient as a matrix product."""
  return convolution.direct(image, kernel, stride)


def _undilated_forward(image, kernel, stride):
  return undilated(image, kernel, stride), (image, kernel)


def _undilated_backward(stride, saved, cotangent):
  image, kernel = saved
  _, kernel_gradient = jax.vjp(lambda k: convolution.by_patches(image, k, stride), kernel)
  # Zeros between the cotangent's elements, and behind them up to the size of the image.
  space = [n - (stride * (m - 1) + 1) for n, m in zip(image.shape, cotangent.shape, strict=True)]
  holes = [(0, 0, 0), (0, space[1], stride - 1), (0, space[2], stride - 1), (0, 0, 0)]
  spread = jax.lax.pad(cotangent, jnp.zeros((), cotangent.dtype), holes)
  mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
  return convolution.direct(spread, mirrored, 1), kernel_gradient(cotangent)[0]


undilated.defvjp(_undilated_forward, _undilated_backward)

LOWERINGS = {
  "direct": convolution.direct,
  "patches": convolution.by_patches,
  "undilated": undilated,
}


def make_step(lowering, masked):
  model = ReducedResNet(OUTPUTS, convolve=lowering)
  optimizer = optax.sgd(0.01)
  call = {"task_id": jnp.zeros(BATCH, jnp.int32), "mask": jnp.ones(BATCH, bool)}

  def init(key):
    image = jnp.zeros((BATCH, PIXELS, PIXELS, 3))
    variables = model.init(key, image, train=False, **call)
    return variables, optimizer.init(variables["params"])

  def step(state, image, label, mask):
    variables, optimizer_state = state

    def loss(params):
      logits, updated = model.apply(
        {**variables, "params": params},
        image,
        task_id=call["task_id"],
        mask=mask if masked else None,
        train=True,
        mutable=["batch_stats"],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
      return jnp.sum(jnp.where(mask, losses, 0)) / jnp.sum(mask), updated

    grad, updated = jax.grad(loss, has_aux=True)(variables["params"])
    updates, optimizer_state = optimizer.update(grad, optimizer_state)
    params = optax.apply_updates(variables["params"], updates)
    return {"params": params, **updated}, optimizer_state

  return init, step


class Variant:
  """One lowering, in a loop or called from Python, with its compiled functions and its state."""

  def __init__(self, lowering, in_loop, seeds, masked):
    init, step = make_step(lowering, masked)
    keys = jax.random.split(jax.random.key(0), seeds)
    init, step = (jax.vmap(f) if seeds > 1 else f for f in (init, step))
    self.state = jax.jit(init)(keys if seeds > 1 else keys[0])
    lead = (seeds, BATCH) if seeds > 1 else (BATCH,)
    self.data = (
      jax.random.uniform(jax.random.key(1), (*lead, PIXELS, PIXELS, 3), minval=-1),
      jax.random.randint(jax.random.key(2), lead, 0, OUTPUTS),
      jnp.ones(lead, bool),
    )
    self.in_loop = in_loop
    if in_loop:
      self.run = jax.jit(self._loop(step), donate_argnums=0)
    else:
      self.run = jax.jit(step, donate_argnums=0)
    self.time(1)

  @staticmethod
  def _loop(step):
    def run(state, image, label, mask, steps):
      def body(carry):
        # A changing image, so that nothing of the step can move out of the loop.
        return carry[0] + 1, step(carry[1], jnp.roll(image, carry[0], axis=-2), label, mask)

      return jax.lax.while_loop(lambda carry: carry[0] < steps, body, (0, state))[1]

    return run

  def time(self, steps):
    """Milliseconds per step, wall clock and processor."""
    wall, processor = time.perf_counter(), time.process_time()
    if self.in_loop:
      self.state = self.run(self.state, *self.data, steps)
    else:
      for _ in range(steps):
        self.state = self.run(self.state, *self.data)
    jax.block_until_ready(self.state)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return 1e3 * wall / steps, 1e3 * processor / steps


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
  parser.add_argument("--seeds", type=int, default=1, help="runs side by side, under vmap")
  parser.add_argument("--rounds", type=int, default=9)
  parser.add_argument("--steps", type=int, default=8, help="steps per round")
  parser.add_argument("--only", default=",".join(LOWERINGS), help="lowerings, comma-separated")
  parser.add_argument("--unmasked", action="store_true", help="BatchNorm without a mask as well")
  arguments = parser.parse_args()
  variants = {}
  for name in arguments.only.split(","):
    for place in ("in a loop", "from Python"):
      for masked in (True, False) if arguments.unmasked else (True,):
        label = f"{name}, {place}" + ("" if masked else ", no mask")
        variants[label] = Variant(LOWERINGS[name], place == "in a loop", arguments.seeds, masked)
  times = {label: [] for label in variants}
  for _ in range(arguments.rounds):
    for label, variant in variants.items():
      times[label].append(variant.time(arguments.steps))
  print(f"{jax.default_backend()}, jax {jax.__version__}, {arguments.seeds} seeds; ms per step")
  print(f"{'':32s}{'wall median':>14s}{'min':>9s}{'processor median':>19s}{'min':>9s}")
  for label, pairs in times.items():
    row = [f(column) for column in zip(*pairs, strict=True) for f in (statistics.median, min)]
    print(f"{label:32s}{row[0]:14.1f}{row[1]:9.1f}{row[2]:19.1f}{row[3]:9.1f}")
    assert all(map(math.isfinite, row))


if __name__ == "__main__":
  main()
