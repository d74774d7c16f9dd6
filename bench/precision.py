"""What bfloat16 does to a training step of TAG, in products and in the accumulators of past tasks.

The compiled loop of `bench/train_step.py`. float32 is measured first and last, to show how steady
the machine was.

  python bench/precision.py [--models=mlp,reduced_resnet] [--steps=20]
"""

import argparse
import statistics

import jax
from train_step import IMAGES, measure

VARIANTS = {
  "float32": {},
  "products in bfloat16": {"compute_dtype": "bfloat16"},
  "accumulators in bfloat16": {"tag.accumulator_dtype": "bfloat16"},
  "both in bfloat16": {"compute_dtype": "bfloat16", "tag.accumulator_dtype": "bfloat16"},
  "float32, again": {},
}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", default=",".join(IMAGES), help="comma-separated")
  parser.add_argument("--steps", type=int, default=20, help="steps of one call")
  options = parser.parse_args()
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; tag, median ms a step of 5 calls")
  for model in options.models.split(","):
    print(f"\n{model}", flush=True)
    for name, changes in VARIANTS.items():
      _, rates = measure(model, "tag", options.steps, repeats=5, **changes)
      print(f"{name:26}{1e3 / statistics.median(rates):10.2f}", flush=True)


if __name__ == "__main__":
  main()
