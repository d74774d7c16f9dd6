"""Makes tables of docs/agem_protocol.md and docs/zero_shot.md of the result files that they cite.

A line `<!-- table: KIND STREAM -->` of a page says what the table behind it shows; its rows are
the files of docs/results/agem/STREAM. Kinds:

  runs     mean ± standard deviation over the runs that ended (ddof 1), in percent
  diverged runs that diverged: seed, task (from 1) and step
  chosen   what the first tasks chose, of how many points
  costs    seconds and bytes of a run, and as multiples of plain SGD's
  shots    zero-shot accuracy by task, mean over the runs

  python -m bench.agem_protocol                          writes the tables anew, and the plots
  python -m bench.agem_protocol --take=STREAM=RUNS_DIR   copies results first, from the run folders
                                                         in RUNS_DIR
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from bench.result_files import take_asked
from tagjax.report.comparison import relative_costs
from tagjax.report.comparison_plots import plot_costs
from tagjax.report.curve_plots import plot_learning_curves, plot_zero_shot
from tagjax.report.tables import mean_and_std, seeds_text, value_text

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "agem_protocol.md", DOCS / "zero_shot.md")
RESULTS = DOCS / "results/agem"
NAMES = {
  "sgd": "SGD",
  "ewc": "EWC",
  "mas": "MAS",
  "si": "SI",
  "rwalk": "RWalk",
  "er": "ER",
  "agem": "A-GEM",
  "gem": "GEM",
  "tag": "TAG",
  "agem+tag": "A-GEM + TAG",
}
FIGURES = {
  "average accuracy": "average_accuracy",
  "forgetting": "forgetting",
  "worst case": "worst_case_forgetting",
  "LCA_10": "learning_curve_area",
  "by trapezoids": "learning_curve_area_trapezoid",
  "Z_0": "zero_shot_accuracy",
}
NOTHING = "*Not measured yet.*"
MARK = re.compile(r"<!-- table: (\w+) (\w+) -->\n(?:\n?(?:(?:\||\*Not).*\n)+)?")
PLOTTED = ("sgd", "agem", "er", "je_sgd", "je_agem", "je_er", "je_agem_shuffled")


def tables_made(page: str) -> str:
  """The page with its tables made anew."""

  def made(mark: re.Match) -> str:
    results = read(mark[2])
    lines = KINDS[mark[1]](results) if results else [NOTHING]
    return f"<!-- table: {mark[1]} {mark[2]} -->\n\n" + "\n".join(lines) + "\n"

  return MARK.sub(made, page)


def read(stream: str) -> dict[str, Any]:
  """The results of a stream by the names of their files, in the order of `NAMES`."""
  found = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((RESULTS / stream).glob("*.json"))
  }
  return {name: found[name] for name in sorted(found, key=_place)}


def _place(name: str) -> tuple:
  method = list(NAMES).index(name.removeprefix("je_").removesuffix("_shuffled"))
  return name.startswith("je_"), method, name


def label(name: str) -> str:
  """What a run is called."""
  method = NAMES[name.removeprefix("je_").removesuffix("_shuffled")]
  if name.endswith("_shuffled"):
    return f"JE, {method}, rows shuffled"
  return f"JE, {method}" if name.startswith("je_") else method


def runs(results: dict[str, Any]) -> list[str]:
  figures = {
    title: key for title, key in FIGURES.items() if all(key in one for one in results.values())
  }
  rows = [[label(name), *(_figure(one[key]) for key in figures.values()),
           seeds_text(one)] for name, one in results.items()]  # fmt: skip
  return _table(["", *figures, "runs"], rows)


def _figure(figure: dict[str, Any]) -> str:
  return mean_and_std(figure["mean"], figure["std"])


def diverged(results: dict[str, Any]) -> list[str]:
  rows = [
    [label(name), str(run["seed"]), str(run["diverged"]["task"] + 1), str(run["diverged"]["step"])]
    for name, one in results.items()
    for run in one["runs"]
    if run.get("diverged")
  ]
  return _table(["", "seed", "task", "step"], rows) if rows else ["*Not a run diverged.*"]


def chosen(results: dict[str, Any]) -> list[str]:
  rows = []
  for name, one in results.items():
    tuning = one["tuning"]
    values = ", ".join(
      f"{key.replace('learning_rate', 'rate')} {value_text(value)}"
      for key, value in tuning["chosen"].items()
    )
    lost = sum(point["average_accuracy"] is None for point in tuning["points"])
    best = max(
      point["average_accuracy"]["mean"] for point in tuning["points"] if point["average_accuracy"]
    )
    rows.append(
      [
        label(name),
        values + " (at the edge)" * bool(tuning["at_edge"]),
        f"{100 * best:.1f}",
        str(len(tuning["points"])),
        str(lost),
      ]
    )
  return _table(["", "chosen", "accuracy there", "points", "diverged"], rows)


def costs(results: dict[str, Any]) -> list[str]:
  rows, relative = [], relative_costs(results)
  for name, one in results.items():
    seconds = one["seconds"]["train"] / len(one["accuracy_matrix"])
    multiples = [f"{relative[name][key]:.2f}" for key in ("seconds", "bytes")]
    held = one["bytes"]
    sizes = [f"{held[key] / 1e3:,.0f}" for key in ("parameters", "method", "exemplars")]
    rows.append([label(name), f"{seconds:.1f}", multiples[0], *sizes, multiples[1]])
  heads = ["seconds", "x SGD", "parameters (kB)", "method (kB)", "exemplars (kB)", "memory x SGD"]
  return _table(["", *heads], rows)


def shots(results: dict[str, Any]) -> list[str]:
  curves = {name: np.array(one["learning_curves"], float) for name, one in results.items()}
  tasks = next(iter(curves.values())).shape[1]
  rows = [
    [label(name), *(f"{100 * value:.0f}" for value in curve[:, :, 0].mean(axis=0))]
    for name, curve in curves.items()
    if name in PLOTTED
  ]
  return _table(["task", *map(str, range(1, tasks + 1))], rows)


KINDS = {"runs": runs, "diverged": diverged, "chosen": chosen, "costs": costs, "shots": shots}


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
  rule = [":---", *["---:"] * (len(heads) - 1)]
  return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]


def take(stream: str, folder: Path) -> None:
  """Copies the results of finished runs; their commands name the folder of their rows only."""
  target = RESULTS / stream
  target.mkdir(parents=True, exist_ok=True)
  for path in sorted(folder.glob("*/results.json")):
    text = path.read_text(encoding="utf-8").replace(str(folder), f"runs/{stream}")
    if "tuning" in json.loads(text):
      (target / f"{path.parent.name}.json").write_text(text, encoding="utf-8")


def draw(stream: str) -> None:
  """The plots of a stream: learning curves, zero-shot accuracy by task, costs."""
  results = {label(name): one for name, one in read(stream).items()}
  shown = {label(name): one for name, one in read(stream).items() if name in PLOTTED}
  for name, plot, those in (
    ("learning_curves", plot_learning_curves, shown),
    ("zero_shot", plot_zero_shot, shown),
    ("costs", plot_costs, results),
  ):
    plot(those).savefig(DOCS / f"images/agem_{stream}_{name}.png")


def main() -> None:
  take_asked(__doc__.splitlines()[0], "STREAM", take)
  for page in PAGES:
    page.write_text(tables_made(page.read_text(encoding="utf-8")), encoding="utf-8")
  if (RESULTS / "glyphs").exists():
    draw("glyphs")


if __name__ == "__main__":
  main()
