"""Makes the tables of docs/lifelong_results.md of the result files that the page cites.

A line `<!-- table: KIND SHARE -->` of the page says what the table behind it shows; the runs are
all files of docs/results/lifelong/SHARE, the share of the images in percent. Kinds:

  rows     a row for each run: mean ± standard deviation over seeds (ddof 1), in percent
  chosen   what LASEM and DARTS have chosen for each task, with LASEM's probability of it
  against  LASEM and DARTS against the static network that validation examples choose

  python -m bench.shared_layers                       writes the tables anew
  python -m bench.shared_layers --take=SHARE=RUNS_DIR copies results first, from the run folders in
                                                      RUNS_DIR
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.class_incremental import spread, table
from bench.result_files import copy_results, take_asked

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "lifelong_results.md"
RESULTS = DOCS / "results/lifelong"
MARK = re.compile(r"<!-- table: (\w+) (\w+) -->\n(?:\n?(?:\|.*\n)+)?")
KINDS = ("hps", "tf", "dfcnn")
MODELS = {"hps": "HPS", "tf": "TF", "dfcnn": "DF-CNN", "prognn": "progressive nets"}
SEARCHES = {"lasem": "LASEM", "darts": "DARTS"}
FIGURES = {
  "accuracy": "average_accuracy",
  "validation": "final_validation_accuracy",
  "peak": "peak_accuracy",
  "final / peak": "final_to_peak",
  "forgetting": "forgetting",
}

Results = dict[str, Any]


def tables_made(page: str) -> str:
  """The page with its tables made anew."""

  def made(mark: re.Match) -> str:
    lines = TABLES[mark[1]](runs_of(mark[2]))
    return f"<!-- table: {mark[1]} {mark[2]} -->\n\n" + "\n".join(lines) + "\n"

  return MARK.sub(made, page)


def runs_of(share: str) -> list[Results]:
  files = sorted((RESULTS / share).glob("*.json"))
  runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
  return sorted(runs, key=place)


def kind_of(results: Results) -> str:
  return results["config"]["model"]


def sharing_of(results: Results) -> str | None:
  """The static configuration, if there is one."""
  sharing = results["config"].get(kind_of(results), {}).get("sharing")
  return None if sharing == "searched" else sharing


def members_of(results: Results) -> list[str]:
  """The methods, without what all runs have."""
  return [name for name in results["config"]["method"].split("+") if name not in PLAIN]


PLAIN = ("rmsprop", "factor_penalty")


def label(results: Results) -> str:
  """What a run is, told by its settings."""
  model, members, sharing = kind_of(results), members_of(results), sharing_of(results)
  if members and members[0] in SEARCHES:
    return f"{SEARCHES[members[0]]} on {MODELS[model]}"
  if members:
    names = " + ".join(name.upper() if name != "packnet" else "PackNet" for name in members)
    return f"{names} on HPS, all shared" if model == "hps" else names
  if sharing == "none":
    return "single task: none shared"
  if sharing is None:
    return "single network, hidden layers too" if model == "lasem_cnn" else MODELS[model]
  return f"{MODELS[model]}, {sharing}"


def place(results: Results) -> tuple:
  """Static networks by their kind, then searches, then the others."""
  members, sharing = members_of(results), sharing_of(results)
  model = kind_of(results)
  order = list(MODELS).index(model) if model in MODELS else len(MODELS)
  group = 0 if sharing == "none" else 3
  if sharing not in (None, "none") and not members:
    group = 1
  elif members and members[0] in SEARCHES:
    group = 2
  return group, order, label(results)


def rows_table(runs: list[Results]) -> list[str]:
  rows = []
  for results in runs:
    cells = [spread(results, key) for key in FIGURES.values()]
    parameters = np.mean([of_seed[-1] for of_seed in results["growth"]["parameters"]])
    seconds = results["seconds"]["train"]
    own = [f"{parameters / 1e3:.0f}", f"{seconds:.0f}", results["provenance"]["commit"][:9]]
    rows.append([label(results), *cells, *own])
  return table(["network", *FIGURES, "1000 parameters", "seconds", "commit"], rows)


def chosen_table(runs: list[Results]) -> list[str]:
  """A row for each search and task; T: shared, the image's side first."""
  rows = []
  for results in runs:
    outcomes = results["outcomes"]
    if "shared_layers" not in outcomes:
      continue
    shared = np.array(outcomes["shared_layers"], float)  # [S, T, L]
    sure = outcomes.get("probability")
    for task, name in enumerate(results["task_names"]):
      of_seeds = ["".join("FT"[int(one)] for one in row) for row in shared[:, task]]
      share = "-"
      if sure is not None:
        share = ", ".join(f"{100 * of_seed[task]:.1f}" for of_seed in sure)
      rows.append([label(results), name, ", ".join(of_seeds), share])
  return table(["search", "task", "shared layers, by seed", "probability (%)"], rows)


def against_table(runs: list[Results]) -> list[str]:
  rows = []
  for results in runs:
    model, members = kind_of(results), members_of(results)
    if not members or members[0] not in SEARCHES:
      continue
    static = [
      one
      for one in runs
      if not members_of(one)
      and (sharing_of(one) == "none" or (kind_of(one) == model and sharing_of(one)))
    ]
    if not static:
      continue
    best = max(static, key=lambda one: one["final_validation_accuracy"]["mean"])
    pairs = zip(*(one["average_accuracy"]["per_seed"] for one in (results, best)), strict=True)
    gains = 100 * np.array([ours - theirs for ours, theirs in pairs])
    rows.append(
      [
        label(results),
        spread(results, "average_accuracy"),
        label(best),
        spread(best, "average_accuracy"),
        f"{gains.mean():+.1f} ({', '.join(f'{gain:+.1f}' for gain in gains)})",
      ]
    )
  heads = ["search", "accuracy", "best static network by validation", "its accuracy"]
  return table([*heads, "difference (by seed)"], rows)


TABLES: dict[str, Callable[[list[Results]], list[str]]] = {
  "rows": rows_table,
  "chosen": chosen_table,
  "against": against_table,
}


def take(share: str, folder: Path) -> None:
  """Copies results, with a folder of this repository in the place of that of the runs."""
  copy_results(folder, RESULTS / share, f"runs/lasem_cifar10/{share}")


def main():
  take_asked(__doc__.splitlines()[0], "SHARE", take)
  PAGE.write_text(tables_made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
  main()
