"""How much the outputs of each task claim the images of each task, in the model of a finished run.

The mean over the test images of task j of the largest output of task t: what iTAML's vote compares,
before runs of images average it (`tagjax.methods.itaml`). Where a row has its largest value off the
diagonal, longer runs do not help. It is of the model itself after the last task, from the last
checkpoint of the folder; the data must be where the run found them. Prints a table, mean and
standard deviation over seeds (ddof 1), and writes the value of each seed:

  python -m bench.votes RUN_DIR [--csv=FILE]
"""

import argparse
import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

import tagjax
from tagjax.config.run import make_parts
from tagjax.config.settings import typed
from tagjax.core.types import Batch
from tagjax.distributed.shared_workdir import ReadWorkdir, open_checkpoints
from tagjax.engine.learner import serve
from tagjax.training.assemble import assemble
from tagjax.training.trainer import Trial

ROWS = 500


def votes_of(folder: str) -> tuple[list[int], np.ndarray]:
  """The seeds, and float64 `[seeds, T, T]`: seed, task of the images, task of the outputs."""
  run = tagjax.load_runs(folder)[0]
  config = flatten_dict(run.config, sep=".")
  parts = make_parts(typed({key: config[key] for key in run.results["used"] if key in config}))
  trials = [Trial(seed) for seed in run.seeds]
  trainer, _ = assemble(parts.stream, parts.model, parts.method, trials, parts.options)
  store = open_checkpoints(ReadWorkdir(folder), keep=1)
  trainer.resume(store, lambda record: None)
  store.close()
  states = trainer.programs.to_host(trainer.state)
  if len(trials) == 1:
    states = jax.tree.map(lambda leaf: leaf[None], states)
  classes = parts.stream.spec.classes
  plain = jax.jit(jax.vmap(trainer.programs.single.plain, in_axes=(0, None)))

  def of_task(task: int) -> np.ndarray:
    examples = parts.stream[task].test
    total = 0.0
    for start in range(0, len(examples), ROWS):
      rows = slice(start, start + ROWS)
      image, label = np.asarray(examples.image[rows]), np.asarray(examples.label[rows])
      unknown = jnp.zeros(len(label), jnp.int32)
      logits = plain(serve(states), Batch(image, unknown, unknown, jnp.ones(len(label), bool)))
      own = np.where(classes, np.asarray(logits, np.float64)[..., None, :], -np.inf)
      total += own.max(axis=-1).sum(axis=1)
    return total / len(examples)

  return run.seeds, np.stack([of_task(task) for task in range(len(parts.stream))], axis=1)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("folder", metavar="RUN_DIR")
  parser.add_argument("--csv", type=Path)
  options = parser.parse_args()
  seeds, votes = votes_of(options.folder)
  tasks = votes.shape[1]
  print("images of task", *(f"{f'outputs of {t + 1}':>14}" for t in range(tasks)))
  spread = votes.std(axis=0, ddof=1) if len(seeds) > 1 else np.full((tasks, tasks), np.nan)
  for j in range(tasks):
    cells = (f"{votes[:, j, t].mean():.2f} ± {spread[j, t]:.2f}" for t in range(tasks))
    print(f"{j + 1:>14}", *(f"{cell:>14}" for cell in cells))
  if options.csv:
    with options.csv.open("w", newline="", encoding="utf-8") as file:
      rows = csv.writer(file, lineterminator="\n")
      rows.writerow(["seed", "images_of_task", "outputs_of_task", "mean_largest_output"])
      for (place, j, t), value in np.ndenumerate(votes):
        rows.writerow([seeds[place], j + 1, t + 1, f"{value:.4f}"])


if __name__ == "__main__":
  main()
