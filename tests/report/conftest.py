"""Results of made-up runs."""

import numpy as np
import pytest

from tagjax.report.results import summarise


def make_results(num_tasks=4, num_seeds=3, *, random_seed=0, method="tag", alphas=False, **config):
  random = np.random.default_rng(random_seed)
  matrices = random.uniform(0.5, 1.0, (num_seeds, num_tasks, num_tasks))
  matrices[:, ~np.tri(num_tasks, dtype=bool)] = np.nan
  results = summarise(matrices) | {
    "config": {
      "benchmark": "permuted_digits",
      "num_tasks": num_tasks,
      "scenario": "domain",
      "method": method,
      "learning_rate": 0.001,
      "model": "mlp",
      "mlp": {"hidden": [256, 256]},
      "epochs": 1,
      "batch_size": 10,
      "seeds": num_seeds,
      "seed": 1,
    }
    | config,
    "seconds": {"compile": 1.0, "train": 9.0, "evaluate": 1.0, "total": 12.4},
    "command": f"python launch.py --config.method={method}",
    "provenance": {"commit": "0123456789abcdef", "dirty": False},
  }
  if alphas:
    relatedness = np.where(np.tri(num_tasks, dtype=bool), random.uniform(1, 2, (num_tasks,) * 2), 0)
    results["task_relatedness"] = [relatedness.tolist()] * num_seeds
  return results


@pytest.fixture(name="make_results")
def make_results_fixture():
  return make_results
