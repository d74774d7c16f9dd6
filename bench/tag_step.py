"""Times a step of TAG beside one of RMSProp, on the 48 tensors of the reduced ResNet.

Both are compiled with donated buffers and timed in turns, so that what else the machine does hits
both; the medians of the rounds are printed. "python": each step called from Python. "loop": the
steps run inside one `lax.fori_loop` with state and parameters in its carry, as the trainer does.

The floor is the time of reading the `2 T P` numbers of all tasks' moments once, by a compiled sum.
With `--torch` TAG as one writes it in PyTorch (bench/torch_tag.py) takes its turn as well.
`--parameters=N` times one square tensor of N parameters in the place of the network's.

  python bench/tag_step.py [--rounds=15] [--steps=20] [--num_tasks=20] [--torch]
"""

import argparse
import functools
import math
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tagjax.transforms import tag

BLOCKS = ((20, 20, 1), (20, 20, 1), (20, 40, 2), (40, 40, 1), (40, 80, 2), (80, 80, 1))
BLOCKS += ((80, 160, 2), (160, 160, 1))


def shapes(num_outputs: int = 100) -> list[tuple[int, ...]]:
  """Shapes of the reduced ResNet's tensors: kernels, and scale and shift of each BatchNorm."""
  found = [(3, 3, 3, 20), (20,), (20,)]
  for before, after, stride in BLOCKS:
    found += [(3, 3, before, after), *4 * [(after,)]]
    if stride > 1:
      found += [(1, 1, before, after)]
  return [*found, (160, num_outputs), (num_outputs,)]


def prepare(transform, params):
  """Compiled step and loop of `transform`, each with its own donated state and parameters."""

  def step(grads, state, params, task_id):
    updates, state = transform.update(grads, state, params, task_id=task_id)
    return state, optax.apply_updates(params, updates)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def loop(state, params, grads, task_id, steps):
    body = lambda _, carry: step(grads, *carry, task_id)  # noqa: E731
    return jax.lax.fori_loop(0, steps, body, (state, params))

  compiled = jax.jit(
    lambda state, params, grads, task_id: step(grads, state, params, task_id), donate_argnums=(0, 1)
  )
  return compiled, loop


class Timer:
  """One optimizer in both modes; keeps the donated buffers between rounds."""

  def __init__(self, transform, params, grads):
    transform = optax.with_extra_args_support(transform)
    self.step, self.loop = prepare(transform, params)
    self.carry = jax.jit(lambda p: (transform.init(p), jax.tree.map(jnp.copy, p)))(params)
    self.grads = grads

  def python(self, task_id, steps):
    """Seconds of a step called from Python."""
    start = time.perf_counter()
    for _ in range(steps):
      self.carry = self.step(*self.carry, self.grads, task_id)
    jax.block_until_ready(self.carry)
    return (time.perf_counter() - start) / steps

  def looped(self, task_id, steps):
    """Seconds of a step inside a compiled loop."""
    start = time.perf_counter()
    self.carry = jax.block_until_ready(self.loop(*self.carry, self.grads, task_id, steps))
    return (time.perf_counter() - start) / steps


class Floor:
  """Reads as many numbers as TAG's state holds, again and again."""

  def __init__(self, num_tasks, params):
    size = 2 * num_tasks * sum(p.size for p in params)
    self.numbers = jnp.ones(size)
    self.read = jax.jit(lambda x, scale: jnp.sum(x * scale))

  def looped(self, task_id, steps):
    start = time.perf_counter()
    for step in range(steps):
      self.read(self.numbers, float(step)).block_until_ready()
    return (time.perf_counter() - start) / steps

  python = looped


class Peer:
  """PyTorch's turn."""

  def __init__(self, num_tasks, params, grads):
    import torch

    from bench.torch_tag import TorchTag

    tensors = [torch.tensor(np.asarray(p)) for p in params]
    for tensor, grad in zip(tensors, grads, strict=True):
      tensor.grad = torch.tensor(np.asarray(grad))
    self.optimizer = TorchTag(tensors, 2.5e-4, num_tasks)
    for task in range(num_tasks - 1):
      self.optimizer.step(task)
      self.optimizer.end_task(task)

  def looped(self, task_id, steps):
    start = time.perf_counter()
    for _ in range(steps):
      self.optimizer.step(int(task_id))
    return (time.perf_counter() - start) / steps

  python = looped


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=15)
  parser.add_argument("--steps", type=int, default=20)
  parser.add_argument("--num_tasks", type=int, default=20)
  parser.add_argument("--parameters", type=int, help="of one tensor in place of the network's")
  parser.add_argument("--accumulator_dtype", default="float32", help="of TAG: float32, bfloat16")
  parser.add_argument("--torch", action="store_true", help="time PyTorch as well")
  options = parser.parse_args()

  sizes = [(math.isqrt(options.parameters),) * 2] if options.parameters else shapes()
  keys = jax.random.split(jax.random.key(0), len(sizes))
  params = [jax.random.normal(k, s) for k, s in zip(keys, sizes, strict=True)]
  grads = [0.01 * p for p in params]
  timers = {
    "rmsprop": Timer(optax.rmsprop(1e-3, decay=0.99), params, grads),
    "tag": Timer(
      tag(2.5e-4, options.num_tasks, accumulator_dtype=options.accumulator_dtype), params, grads
    ),
    "floor": Floor(options.num_tasks, params),
  }
  if options.torch:
    timers["torch"] = Peer(options.num_tasks, params, grads)
  print(
    f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores; "
    f"{len(params)} tensors, {sum(p.size for p in params):,} parameters, "
    f"T = {options.num_tasks}, {options.accumulator_dtype}; "
    f"median ms a step of {options.rounds} rounds x {options.steps}"
  )
  columns = "".join(f"{name:>10}{f'/{name}':>10}" for name in timers if name != "tag")
  print(f"{'mode':8}{'task':>6}{'tag':>10}{columns}")
  for mode in ("python", "looped"):
    for task in [t for t in (1, 5, 10, 20) if t <= options.num_tasks]:
      rounds = {name: [] for name in timers}
      for number in range(options.rounds + 2):  # the first two warm up
        for name, timer in timers.items():
          seconds = getattr(timer, mode)(jnp.int32(task - 1), options.steps)
          if number >= 2:
            rounds[name].append(1e3 * seconds)
      line = f"{mode:8}{task:6}{statistics.median(rounds['tag']):10.3f}"
      for name, values in rounds.items():
        if name != "tag":
          ratio = statistics.median(o / v for o, v in zip(rounds["tag"], values, strict=True))
          line += f"{statistics.median(values):10.3f}{ratio:10.2f}"
      print(line)


if __name__ == "__main__":
  main()
