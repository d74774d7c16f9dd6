"""How far TAG with bfloat16 accumulators is from TAG in float32, step by step, same gradients.

Trains TAG on permuted digits in float32; beside it a second one, with bfloat16 accumulators, gets
the same gradients. Printed for each task: the relative difference of the updates (L2 norm), and the
largest one of a step's weights; means over the steps and the tensors.

  python bench/accumulators.py [--num_tasks=10]
"""

import argparse

import jax
import jax.numpy as jnp

from tagjax.config.run import run_config
from tagjax.core.method import Method, lift
from tagjax.core.register import register
from tagjax.transforms import tag, task_relatedness

LEARNING_RATES = {"rmsprop": 0.002, "adagrad": 0.02, "adam": 0.005}  # those of configs/digits.py


@register("compared", kind="optimizer")
def compared(learning_rate: float, num_tasks: int, base: str = "rmsprop") -> Method:
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
  return jnp.max(jnp.where(one > 0, jnp.abs(other - one) / jnp.where(one > 0, one, 1), 0))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--num_tasks", type=int, default=10)
  options = parser.parse_args()
  print(f"{'base':10}{'task':>6}{'update':>12}{'weights':>12}")
  for base, learning_rate in LEARNING_RATES.items():
    settings = {
      "method": "compared",
      "compared.base": base,
      "learning_rate": learning_rate,
      "num_tasks": options.num_tasks,
      "mlp.hidden": (100, 100),
    }
    run = run_config(settings, None, progress=False)
    for task, (update, weights) in enumerate(run.results["differences"][0]):
      print(f"{base:10}{task + 1:6}{update:12.5f}{weights:12.5f}", flush=True)


if __name__ == "__main__":
  main()
