"""Makes the tables of docs/lifelong_results.md and docs/lifelong_architectures.md of result files.

A line `<!-- table: KIND STREAM -->` of a page says what the table behind it shows; the runs are all
files of docs/results/lifelong/STREAM: 4 or 20 (per cent of CIFAR-10's images), or digits. The
grids `brute_force` are in docs/tuning/brute_force, a file for each per cent. Kinds:

  rows     a row for each run: mean ± standard deviation over seeds (ddof 1), in percent
  chosen   what LASEM and DARTS have chosen for each task, with LASEM's probability of it, or the
           smallest and largest weight that DARTS gives a layer of the chosen kind
  against  LASEM and DARTS against the static network that validation examples choose
  grid     a row for each configuration that was trained by itself, on validation examples
  units    rows of methods that give tasks units or weights of their own, with the growth

docs/images/lasem_posterior_STREAM.png shows how sure LASEM was while it learned, from files
RUN.posterior.csv beside the results: the largest probability of a configuration, of the posterior
(its mean over the steps of a chunk) and of the prior. Files RUN.mixture.csv hold the weights of
DARTS when a task ends.

  python -m bench.shared_layers                        writes the tables anew, and the plots
  python -m bench.shared_layers --take=STREAM=RUNS_DIR copies results first, from the run folders in
                                                       RUNS_DIR
"""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.class_incremental import spread, table
from bench.result_files import copy_results, take_asked
from tagjax.report.metrics_log import monitored, read_log

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "lifelong_results.md", DOCS / "lifelong_architectures.md")
RESULTS = DOCS / "results/lifelong"
GRIDS = DOCS / "tuning"
IMAGES = DOCS / "images"
NOTHING = "*Not measured yet.*"
MARK = re.compile(r"<!-- table: (\w+) (\w+) -->\n(?:\n?(?:(?:\|.*\n)+|\*[^*]+\*\n))?")
MODELS = {"hps": "HPS", "tf": "TF", "dfcnn": "DF-CNN", "prognn": "progressive nets"}
SEARCHES = {"lasem": "LASEM", "darts": "DARTS"}
FIGURES = {
  "accuracy": "average_accuracy",
  "validation": "final_validation_accuracy",
  "learned": "learning_accuracy",
  "peak": "peak_accuracy",
  "final / peak": "final_to_peak",
  "forgetting": "forgetting",
}
GRID_FIGURES = {
  "accuracy": "average_accuracy",
  "learned": "learning_accuracy",
  "forgetting": "forgetting",
}
"""Of the points of a grid, on validation examples."""

Results = dict[str, Any]


def tables_made(page: str) -> str:
  """The page with its tables made anew."""

  def made(mark: re.Match) -> str:
    lines = TABLES[mark[1]](mark[2])
    return f"<!-- table: {mark[1]} {mark[2]} -->\n\n" + "\n".join(lines) + "\n"

  return MARK.sub(made, page)


def runs_of(stream: str) -> list[Results]:
  files = sorted((RESULTS / stream).glob("*.json"))
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
    is_product = results["config"].get("lasem", {}).get("likelihood") == "product"
    return f"{SEARCHES[members[0]]} on {MODELS[model]}{', product' if is_product else ''}"
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


def rows_table(stream: str) -> list[str]:
  rows = []
  for results in runs_of(stream):
    cells = [spread(results, key) for key in FIGURES.values()]
    parameters = np.mean([of_seed[-1] for of_seed in results["growth"]["parameters"]])
    seconds = results["seconds"]["train"]
    own = [f"{parameters / 1e3:.0f}", f"{seconds:.0f}"]
    made = results["provenance"]
    rows.append([label(results), *cells, *own, str(made.get("cores", "-")), made["commit"][:9]])
  heads = ["network", *FIGURES, "1000 parameters", "seconds", "cores", "commit"]
  return table(heads, rows) if rows else [NOTHING]


def units_table(stream: str) -> list[str]:
  rows = []
  for results in sorted(runs_of(stream), key=lambda one: one["growth"]["allocated_parameters"]):
    config = results["config"]
    parameters = np.mean(results["growth"]["parameters"], axis=0)
    grown = parameters if len({*parameters}) > 1 else parameters[:1]
    rows.append(
      [
        f"`{config['method']}`, {config['epochs']} epochs, `{config['model']}`",
        spread(results, "average_accuracy"),
        spread(results, "forgetting"),
        " ".join(f"{number:,.0f}" for number in grown),
        results["provenance"]["commit"][:9],
      ]
    )
  heads = ["method and model", "accuracy", "forgetting", "parameters after each task", "commit"]
  return table(heads, rows) if rows else [NOTHING]


def chosen_table(stream: str) -> list[str]:
  """A row for each search and task; T: shared, the image's side first."""
  rows = []
  for results in runs_of(stream):
    outcomes = results["outcomes"]
    if "shared_layers" not in outcomes:
      continue
    shared = np.array(outcomes["shared_layers"], float)  # [S, T, L]
    # Files of older commits call it "probability".
    sure = next((outcomes[key] for key in outcomes if key.endswith("probability")), None)
    for task, name in enumerate(results["task_names"]):
      of_seeds = ["".join("FT"[int(one)] for one in row) for row in shared[:, task]]
      if sure is None:
        shares = kept_weights(stream, results, task)
      else:
        shares = [f"{100 * of_seed[task]:.1f}" for of_seed in sure]
      rows.append([label(results), name, ", ".join(of_seeds), ", ".join(shares)])
  heads = ["search", "task", "shared layers, by seed", "probability, or weights (%)"]
  return table(heads, rows) if rows else [NOTHING]


def kept_weights(stream: str, results: Results, task: int) -> list[str]:
  """Of each seed the smallest and largest weight of a layer's chosen kind, in percent."""
  model = kind_of(results)
  path = RESULTS / stream / f"darts_{model}.mixture.csv"
  values = np.loadtxt(path, delimiter=",", skiprows=1)
  told = []
  for seed in results["seeds"]:
    shared = values[(values[:, 0] == seed) & (values[:, 1] == task)][:, 3]
    kept = 100 * np.maximum(shared, 1 - shared)
    told.append(f"{kept.min():.0f}-{kept.max():.0f}")
  return told


def grid_table(folder: str) -> list[str]:
  """Of grids over the same configurations, beside each other; names of files are percentages."""
  heads = ["shared"]
  rows: dict[str, list[str]] = {}
  for path in sorted((GRIDS / folder).glob("*.json"), key=lambda path: int(path.stem)):
    heads += [f"{name}, {path.stem} %" for name in GRID_FIGURES]
    for point in json.loads(path.read_text(encoding="utf-8"))["points"]:
      row = rows.setdefault(point["values"]["hps.sharing"], [])
      row += [spread(point, key) for key in GRID_FIGURES.values()]
  return table(heads, [[row, *cells] for row, cells in rows.items()]) if rows else [NOTHING]


def against_table(stream: str) -> list[str]:
  rows, runs = [], runs_of(stream)
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
  return table([*heads, "difference (by seed)"], rows) if rows else [NOTHING]


TABLES: dict[str, Callable[[str], list[str]]] = {
  "rows": rows_table,
  "chosen": chosen_table,
  "against": against_table,
  "grid": grid_table,
  "units": units_table,
}

_PLACE = ("seed", "task", "step")


def take(stream: str, folder: Path) -> None:
  """Copies results, with a folder of this repository in the place of that of the runs."""
  parent = "units" if stream == "digits" else "lasem_cifar10"
  target = (GRIDS if stream == "brute_force" else RESULTS) / stream
  copy_results(folder, target, f"runs/{parent}/{stream}")
  for found in sorted(folder.glob("lasem_*/results.json")):
    keep_posterior(found.parent, RESULTS / stream / f"{found.parent.name}.posterior.csv")
  for found in sorted(folder.glob("darts_*/results.json")):
    keep_mixture(found.parent, RESULTS / stream / f"{found.parent.name}.mixture.csv")


def keep_posterior(folder: Path, target: Path) -> None:
  """Writes how sure LASEM was, if the log tells it."""
  rows = read_log(folder / "metrics.jsonl")
  told = [monitored(rows, name) for name in ("posterior", "prior")]
  if any(frame.empty for frame in told):
    return
  posterior, prior = (frame.groupby([*_PLACE])["value"].max() for frame in told)
  with target.open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_PLACE, "largest_posterior", "largest_prior"])
    for place in posterior.index:
      writer.writerow([*map(int, place), f"{posterior[place]:.4f}", f"{prior[place]:.4f}"])


def keep_mixture(folder: Path, target: Path) -> None:
  """Writes the weights that DARTS gives each layer's shared kind when a task ends."""
  told = monitored(read_log(folder / "metrics.jsonl"), "mixture")
  last = told[told["step"] == told.groupby(["seed", "task"])["step"].transform("max")]
  last = last.rename(columns={"entry": "layer", "value": "shared"})
  columns = ["seed", "task", "layer", "shared"]
  last.to_csv(target, columns=columns, index=False, float_format="%.4f", lineterminator="\n")


def plot_posteriors(stream: str) -> None:
  """A row of panels for each LASEM run, a panel a task, a colour a seed."""
  files = sorted((RESULTS / stream).glob("*.posterior.csv"))
  if not files:
    return
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  runs = [json.loads(Path(str(f).replace(".posterior.csv", ".json")).read_text()) for f in files]
  names = runs[0]["task_names"]
  figure, panels = pyplot.subplots(
    len(files), len(names), figsize=(11, 0.6 + 2.1 * len(files)), sharex=True, sharey="row",
    squeeze=False, layout="constrained",
  )  # fmt: skip
  for path, results, row in zip(files, runs, panels, strict=True):
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    for task, axes in enumerate(row):
      for place, seed in enumerate(results["seeds"]):
        own = values[(values[:, 0] == seed) & (values[:, 1] == task)]
        axes.plot(own[:, 2], 100 * own[:, 3], color=f"C{place}", linewidth=0.8, linestyle=":")
        axes.plot(own[:, 2], 100 * own[:, 4], color=f"C{place}", linewidth=1.6)
      axes.axhline(100 / 2 ** len(results["outcomes"]["shared_layers"][0][0]), color="#999999")
      axes.set_title(names[task], fontsize=9)
    row[0].set_ylabel(f"{label(results)}\nlargest (%)", fontsize=9)
  for axes in panels[-1]:
    axes.set_xlabel("step", fontsize=9)
  figure.savefig(IMAGES / f"lasem_posterior_{stream}.png", dpi=100, metadata={"Software": None})
  pyplot.close(figure)


def main():
  take_asked(__doc__.splitlines()[0], "STREAM", take)
  for page in PAGES:
    page.write_text(tables_made(page.read_text(encoding="utf-8")), encoding="utf-8")
  for stream in sorted(path.name for path in RESULTS.iterdir()):
    plot_posteriors(stream)


if __name__ == "__main__":
  main()
