"""What each method costs: seconds a training step relative to plain SGD with the same model.

The compiled loop of `launch.py` at the last of 20 tasks, batch 10, one exemplar a class in memory.
Plain SGD is measured first and last, to show how steady the machine was. What a method does at the
end of a task (the importance of EWC, MAS) is not in the step and not in this table.

  python bench/methods.py [--models=mlp,reduced_resnet] [--steps=50] [--methods=sgd,ewc,...]
"""

import argparse
import statistics

import jax
from train_step import IMAGES, measure

from tagjax.core.register import declared

OPTIMIZERS = ["rmsprop", "adagrad", "adam", "stable_sgd", "tag", "tag_adagrad", "tag_adam"]
METHODS = ["sgd", *OPTIMIZERS, *declared("modifier")]


def milliseconds(model: str, method: str, steps: int) -> float:
  _, rates = measure(model, method, steps, repeats=5)
  return 1e3 / statistics.median(rates)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", default=",".join(IMAGES), help="comma-separated")
  parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
  parser.add_argument("--steps", type=int, default=50, help="steps of one call")
  options = parser.parse_args()
  print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; median ms a step of 5 calls")
  for model in options.models.split(","):
    naive = milliseconds(model, "sgd", options.steps)
    print(f"\n{model:16}{'ms':>10}{'times sgd':>12}\n{'sgd':16}{naive:10.2f}{1:12.1f}", flush=True)
    for method in [name for name in options.methods.split(",") if name != "sgd"] + ["sgd"]:
      time = milliseconds(model, method, options.steps)
      label = "sgd, again" if method == "sgd" else method
      print(f"{label:16}{time:10.2f}{time / naive:12.1f}", flush=True)


if __name__ == "__main__":
  main()
