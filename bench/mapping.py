"""The mean square of single examples' gradients: the ways to map over examples, on this machine.

`vmap`: all gradients of a batch of 10 at once. `map`: one after another. `factored`: `vmap`,
kernels as products of two thin matrices (`tagjax.core.mapping`). For 100 examples, as EWC
("standard") takes them at the end of a task; medians of some rounds in turns.

  python -m bench.mapping [--models=mlp,reduced_resnet] [--rounds=5]
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from bench.train_step import BATCH, examples, stream_spec
from tagjax.config import build, settings
from tagjax.core import losses, mapping
from tagjax.engine.model import as_model, initial_variables
from tagjax.input_pipeline.device_examples import take

EXAMPLES = 100


def squares(model: str, way: str):
  """A compiled function without arguments."""
  spec = stream_spec(model)
  network = as_model(build.build_model(settings.typed({"model": model}), spec), spec)
  variables = initial_variables(network, spec, jax.random.key(0))
  chunk = take(examples(spec, EXAMPLES), jnp.arange(EXAMPLES).reshape(-1, BATCH))

  def loss(params, row):
    batch = jax.tree.map(lambda leaf: leaf[None], row)
    logits, _ = network.apply(
      {**variables, "params": params}, batch.image / 255.0, task_id=batch.task_id,
      mask=batch.mask, train=False, key=None,
    )  # fmt: skip
    active = losses.active_outputs(spec, batch.task_id, 0)
    return losses.cross_entropy(logits, batch.label, active)[0]

  def gradient(params, row):
    return jax.tree.map(jnp.square, jax.grad(loss)(params, row))

  def thin(params, row):
    found = mapping.factored(lambda: jax.grad(loss)(params, row))
    return jax.tree.map(jnp.square, found)

  def total(node):
    if mapping.is_thin(node):
      return node.left[:, 0].T @ node.right[:, 0]
    return jnp.sum(node, axis=0)

  def of_batch(params, batch):
    if way == "map":
      values = jax.lax.map(lambda row: gradient(params, row), batch)
    else:
      one = thin if way == "factored" else gradient
      values = jax.vmap(one, (None, 0))(params, batch)
    return jax.tree.map(total, values, is_leaf=mapping.is_thin)

  @jax.jit
  def run(params, chunk):
    def body(carry, batch):
      return jax.tree.map(jnp.add, carry, of_batch(params, batch)), None

    return jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), chunk)[0]

  return lambda: jax.block_until_ready(run(variables["params"], chunk))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", default="mlp,reduced_resnet", help="comma-separated")
  parser.add_argument("--rounds", type=int, default=5)
  options = parser.parse_args()
  ways = ("vmap", "map", "factored")
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; ms for {EXAMPLES} examples")
  print(f"{'model':16}" + "".join(f"{way:>10}" for way in ways))
  for model in options.models.split(","):
    runs = [squares(model, way) for way in ways]
    times = [[] for _ in ways]
    for number in range(options.rounds + 1):  # the first one compiles
      for run, found in zip(runs, times, strict=True):
        start = time.perf_counter()
        run()
        if number:
          found.append(1e3 * (time.perf_counter() - start))
    print(f"{model:16}" + "".join(f"{statistics.median(t):10.1f}" for t in times), flush=True)


if __name__ == "__main__":
  main()
