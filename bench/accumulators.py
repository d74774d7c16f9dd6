"""How far TAG with bfloat16 accumulators is from TAG in float32, step by step, same gradients.

Trains TAG on permuted digits in float32; beside it a second one, with bfloat16 accumulators, gets
the same gradients. Printed for each task: the relative difference of the updates (L2 norm), and the
largest one of a step's weights; means over the steps and the tensors.

  python bench/accumulators.py [--num_tasks=10]
"""

import argparse
import tempfile

import jax
import jax.numpy as jnp

from tagjax.config import registry
from tagjax.config.defaults import base_config
from tagjax.core.method import Method, lift
from tagjax.training import experiment
from tagjax.transforms import tag, task_relatedness

LEARNING_RATES = {"rmsprop": 0.002, "adagrad": 0.02, "adam": 0.005}  # those of configs/digits.py


def compared(learning_rate: float, num_tasks: int, base: str) -> Method:
  """TAG in float32, with the differences of its twin as diagnostics."""
  exact = lift(tag(learning_rate, num_tasks, base=base))
  rounded = lift(tag(learning_rate, num_tasks, base=base, accumulator_dtype=jnp.bfloat16))

  def init(params):
    errors = jnp.zeros((len(jax.tree.leaves(params)), 2))
    return exact.init(params), rounded.init(params), errors

  def update(updates, state, params, *, at):
    ours, first = exact.update(updates, state[0], params, at=at)
    theirs, second = rounded.update(updates, state[1], params, at=at)
    tensors = zip(
      *map(jax.tree.leaves, (ours, theirs, task_relatedness(first), task_relatedness(second))),
      strict=True,
    )
    errors = [jnp.stack([_distance(a, b), _largest(c, d)]) for a, b, c, d in tensors]
    return ours, (first, second, jnp.stack(errors))

  return Method(init, update, diagnose=lambda state: {"differences": state[2]})


def _distance(one, other):
  return jnp.linalg.norm((one - other).ravel()) / jnp.linalg.norm(one.ravel())


def _largest(one, other):
  return jnp.max(jnp.where(jnp.isnan(one), 0, jnp.abs(other - one) / one))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--num_tasks", type=int, default=10)
  options = parser.parse_args()
  print(f"{'base':10}{'task':>6}{'update':>12}{'weights':>12}")
  for base, learning_rate in LEARNING_RATES.items():
    registry.OPTIMIZERS["compared"] = lambda context, base=base: compared(
      context.config.learning_rate, context.spec.num_tasks, base
    )
    config = base_config()
    config.method, config.learning_rate, config.num_tasks = (
      "compared",
      learning_rate,
      options.num_tasks,
    )
    config.mlp.hidden, config.plots = (100, 100), False
    with tempfile.TemporaryDirectory() as folder:
      differences = experiment.run(config, folder, progress=False)["differences"][0]
    for task, (update, weights) in enumerate(differences):
      print(f"{base:10}{task + 1:6}{update:12.5f}{weights:12.5f}", flush=True)


if __name__ == "__main__":
  main()
