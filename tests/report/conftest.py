"""Results of made-up runs."""

import numpy as np
import pytest

from tagjax.report.results import summarise, summarise_counts


def make_results(
  num_tasks=4, num_seeds=3, *, random_seed=0, method="tag", alphas=False, grows=False, **config
):
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
  if grows:
    parameters = (1000 * np.arange(1, num_tasks + 1) + np.arange(num_seeds)[:, None]).tolist()
    results["growth"] = {
      "parameters": parameters,
      "bytes": [[4 * number for number in seed] for seed in parameters],
      "allocated_parameters": 5000,
      "allocated_bytes": 20_000,
      "step_flops": [1e6 * (task + 1) for task in range(num_tasks)],
      "evaluation_flops": [1e5] * num_tasks,
    }
    layers = [[task % 2, 1] for task in range(num_tasks)]
    results["outcomes"] = {"shared_layers": [layers] * num_seeds}
  return results


@pytest.fixture(name="make_results")
def make_results_fixture():
  return make_results


@pytest.fixture
def counted():
  """Results of runs of two tasks of two classes that were asked to measure all."""

  def counted(num_seeds=2, lengths=(1, 3, 7)):
    random, sizes = np.random.default_rng(4), np.array([40, 20])
    images = np.cumsum(sizes)[None, :, None]
    task = random.integers(20, 40, (num_seeds, 2, len(lengths)))
    confusion = random.integers(1, 9, (num_seeds, 4, 4))
    last = random.integers(5, 30, (num_seeds, 1))
    predicted = np.stack([[[40, 0], [60 - one, one]] for one in last[:, 0]])
    counts = {
      "correct": task - 5,
      "task": task,
      "task_aware": np.broadcast_to(images - 3, task.shape),
      "plain": task[..., 0] - 6,
      "plain_task_aware": task[..., 0] - 4,
      "top_k": task - 2,
      "predicted_tasks": predicted,
    }
    counts = {name: value.tolist() for name, value in counts.items()}
    counts["confusion"] = [[None, one.tolist()] for one in confusion]
    made = make_results(2, num_seeds, method="er", scenario="class")
    measured = summarise_counts(
      counts,
      sizes,
      continuum=lengths[0],
      lengths=lengths,
      top_k=5,
      classes=np.eye(2, dtype=bool).repeat(2, axis=1),
    )
    matrix = summarise(made["accuracy_matrix"], sizes=sizes)
    definitions = made["definitions"] | measured["definitions"]
    return made | matrix | measured | {"definitions": definitions}

  return counted


@pytest.fixture
def sweep_results():
  """A grid of 2 x 3 x 2 points; the one with (0.1, 5, 20) is best, all with 1e10 diverged."""
  sweep = {"learning_rate": [0.1, 1e10], "tag.b": [1, 5, 9], "epochs": [1, 20]}
  points = []
  for rate in sweep["learning_rate"]:
    for b in sweep["tag.b"]:
      for epochs in sweep["epochs"]:
        mean = 0.5 + 0.1 * (b == 5) + 0.01 * (epochs == 20)
        figure = {"mean": mean, "std": 0.02, "ci95": 0.05, "per_seed": [mean - 0.02, mean + 0.02]}
        lost = rate == 1e10
        points.append(
          {"values": {"learning_rate": rate, "tag.b": b, "epochs": epochs}}
          | dict.fromkeys(
            ("average_accuracy", "forgetting", "learning_accuracy"), None if lost else figure
          )
          | {"diverged_seeds": [2] if lost else []}
        )
  return {
    "config": {"benchmark": "permuted_digits", "method": "tag", "sweep": sweep},
    "selected_on": {"split": "validation", "tasks": None, "seeds": 2},
    "points": points,
    "chosen": {"learning_rate": 0.1, "tag.b": 5, "epochs": 20},
    "at_edge": ["epochs"],
  }
