"""Makes the tables of docs/class_incremental.md of the result files that the page cites.

A line `<!-- table: KIND STREAM RUN ... -->` of the page says what the table behind it shows; the
runs are files of docs/results/class_incremental/STREAM. Kinds:

  runs       a row for each run: mean ± standard deviation over seeds (ddof 1), in percent
  lengths    accuracy by the length p of the runs of test images, mean over seeds
  confusion  of one run: share of each task's images that go to the classes of each task
  votes      of one run: what `bench.votes` wrote beside its file
  changes    RUN:BASE pairs: the same seeds with and without some changes of the settings

  python -m bench.class_incremental                             writes the tables anew
  python -m bench.class_incremental --take=STREAM=RUNS_DIR      copies results first, from the run
                                                                folders in RUNS_DIR
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.result_files import copy_results, take_asked
from tagjax.report.comparison import flat_config

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "class_incremental.md",)
RESULTS = DOCS / "results/class_incremental"
NAMES = {
  "itaml": "iTAML",
  "er": "ER",
  "er_ace": "ER-ACE",
  "derpp": "DER++",
  "icarl": "iCaRL",
  "bic": "BiC",
  "gdumb": "GDumb",
  "lwf": "LwF",
}
FIGURES = {
  "accuracy": "average_accuracy",
  "average incremental": "average_incremental_accuracy",
  "task accuracy": "task_accuracy",
  "task known": "task_aware_accuracy",
  "plain argmax": "plain_accuracy",
  "recency bias": "recency_bias",
}
MARK = re.compile(r"<!-- table: (\w+) (\w+) ([^>]+) -->\n(?:\n?(?:\|.*\n)+)?")


def tables_made(page: str) -> str:
  """The page with its tables made anew."""

  def made(mark: re.Match) -> str:
    kind, stream, runs = mark[1], mark[2], mark[3].split()
    lines = KINDS[kind](stream, runs)
    return f"<!-- table: {kind} {stream} {mark[3]} -->\n\n" + "\n".join(lines) + "\n"

  return MARK.sub(made, page)


def read(stream: str, run: str) -> dict[str, Any]:
  return json.loads((RESULTS / stream / f"{run}.json").read_text(encoding="utf-8"))


def label(results: dict[str, Any]) -> str:
  """What a run is, told by its settings."""
  config = results["config"]
  members = config["method"].split("+")
  if config["protocol"] == "joint":
    return "joint"
  if members[0] not in NAMES:
    optimizer = next(name for name in reversed(members) if name != "weight_decay")
    return f"naive ({ {'sgd': 'SGD', 'tag': 'TAG', 'radam': 'RAdam'}[optimizer] })"
  text = NAMES[members[0]]
  if members[0] == "itaml":
    inside = " with TAG inside" if "tag" in members else ""
    variant = ", reference variant" if config["itaml"]["variant"] == "reference" else ""
    return f"{text}{inside}{variant}, {config['select_epoch']} epoch"
  return f"{text} with TAG" if "tag" in members else text


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
  """Markdown: text in the first column, numbers in the others."""
  lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
  first, second, *rest = (f"| {' | '.join(line)} |" for line in lines)
  return [first, second.replace(" ", ""), *rest]


def spread(results: dict[str, Any], key: str) -> str:
  figure = results.get(key)
  if not figure or figure["mean"] is None:
    return "-"
  std = f" ± {100 * figure['std']:.1f}" if figure["std"] is not None else ""
  return f"{100 * figure['mean']:.1f}{std}"


def runs_table(stream: str, runs: list[str]) -> list[str]:
  rows = []
  for results in (read(stream, run) for run in runs):
    cells = [spread(results, key) for key in FIGURES.values()]
    rows.append([label(results), *cells, results["provenance"]["commit"][:9]])
  return table(["method", *FIGURES, "commit"], rows)


def lengths_table(stream: str, runs: list[str]) -> list[str]:
  rows, lengths = [], []
  for results in (read(stream, run) for run in runs):
    lengths = results["continuum"]["lengths"]
    accuracy = np.array(results["continuum"]["accuracy"], float)[:, -1].mean(axis=0)
    rows.append([label(results), *(f"{100 * value:.1f}" for value in accuracy)])
  return table(["accuracy at p =", *map(str, lengths)], rows)


def confusion_table(stream: str, runs: list[str]) -> list[str]:
  (run,) = runs
  results = read(stream, run)
  matrices = np.array(results["confusion_matrix"], float)
  tasks = results["task_classes"]
  rows = [[matrices[:, own][:, :, other].sum(axis=(1, 2)) for other in tasks] for own in tasks]
  share = 100 * np.array(rows) / np.sum(rows, axis=1, keepdims=True)
  return by_task(share)


def votes_table(stream: str, runs: list[str]) -> list[str]:
  (run,) = runs
  with (RESULTS / stream / f"{run}.votes.csv").open(encoding="utf-8") as file:
    found = list(csv.DictReader(file))
  size = max(int(row["images_of_task"]) for row in found)
  value = np.array([float(row["mean_largest_output"]) for row in found]).reshape(-1, size, size)
  return by_task(np.moveaxis(value, 0, -1), digits=2)


def by_task(value: np.ndarray, digits: int = 1) -> list[str]:
  """Of `[T, T, seeds]`, the largest mean of a row in bold."""
  mean, std = value.mean(axis=-1), value.std(axis=-1, ddof=1)
  rows = []
  for number, (means, stds) in enumerate(zip(mean, std, strict=True), 1):
    texts = [f"{m:.{digits}f}" for m in means]
    texts[means.argmax()] = f"**{texts[means.argmax()]}**"
    cells = [f"{text} ± {s:.{digits}f}" for text, s in zip(texts, stds, strict=True)]
    rows.append([f"task {number}", *cells])
  return table(["images of", *(f"t = {t + 1}" for t in range(len(rows)))], rows)


def changes_table(stream: str, runs: list[str]) -> list[str]:
  rows = []
  for pair in runs:
    changed, base = (read(stream, run) for run in pair.split(":"))
    before, after = flat_config(base), flat_config(changed)
    shared = [key for key in after if key in before and key not in ("seeds", "plots")]
    keys = [key for key in shared if after[key] != before[key]]
    what = ", ".join(f"`{key}={after[key]}`".replace(" ", "") for key in keys)
    places = [base["seeds"].index(seed) for seed in changed["seeds"]]
    cells = []
    for key in ("average_accuracy", "plain_accuracy", "task_aware_accuracy"):
      old = np.mean([base[key]["per_seed"][place] for place in places])
      cells.append(f"{100 * old:.1f} → {100 * changed[key]['mean']:.1f}")
    rows.append([f"{label(base)}: {what}", *cells, changed["provenance"]["commit"][:9]])
  return table(["run: what it changes", "accuracy", "plain argmax", "task known", "commit"], rows)


KINDS: dict[str, Callable[[str, list[str]], list[str]]] = {
  "runs": runs_table,
  "lengths": lengths_table,
  "confusion": confusion_table,
  "votes": votes_table,
  "changes": changes_table,
}


def take(stream: str, folder: Path) -> None:
  """Copies results, with a folder of this repository in the place of that of the runs."""
  copy_results(folder, RESULTS / stream, f"runs/class_incremental/{stream}")


def main():
  take_asked(__doc__.splitlines()[0], "STREAM", take)
  for page in PAGES:
    page.write_text(tables_made(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
  main()
