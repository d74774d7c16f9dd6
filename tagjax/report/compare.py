"""Sets runs side by side: `python -m tagjax.report.compare RUN_DIR [RUN_DIR...]`.

Reads the results.json of each folder and prints a table; `--markdown FILE` also writes it with
the commands, settings and commits that made it, `--picture FILE.png` draws it. Runs whose settings
differ in more than the method are refused, unless `--allow-differences` asks for the table with a
note of what differs.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from rich.console import Console

from tagjax import metrics
from tagjax.core.errors import TagjaxError
from tagjax.metrics.matrix import DEFINITIONS
from tagjax.report.plots import plot_comparison
from tagjax.report.tables import Row, markdown_table, mean_and_std, rich_table
from tagjax.storage.json_files import ResultsError, read_json

Results = Mapping[str, Any]

SHARED_SETTINGS = (
  "benchmark",
  "scenario",
  "num_tasks",
  "classes",
  "class_order",
  "classes_per_task",
  "task_order",
  "blurry_fraction",
  "train_fraction",
  "label_noise",
  "image_folders",
  "image_size",
  "image_resize",
  "test_fraction",
  "data_seed",
  "validation_fraction",
  "evaluate_on",
  "train_examples_per_task",
  "test_examples_per_task",
  "normalization",
  "augmentation",
  "model",
  "epochs",
  "batch_size",
  "drop_last",
  "seeds",
  "seed",
)
"""The keys of the config in which runs must agree to be compared, besides the model's own."""


class CompareError(TagjaxError, ValueError):
  """The runs cannot be compared; the message says why and what can be done."""


def load_runs(folders: Sequence[str | Path]) -> dict[str, Results]:
  """The results of every folder, by a name: the method, with what tells namesakes apart.

  Namesakes are told apart by the settings in which they differ, such as `er+sgd,
  memory.capacity=10`; where that is not enough, by their folders.

  Raises:
    ResultsError: if a folder has no results.json, or not one of a run.
  """
  runs = [(Path(folder), _read_results(Path(folder))) for folder in folders]
  methods = [str(results["config"]["method"]) for _, results in runs]
  named: dict[str, Results] = {}
  for (folder, results), method in zip(runs, methods, strict=True):
    namesakes = [other for (_, other), name in zip(runs, methods, strict=True) if name == method]
    settings = _distinctions([other["config"] for other in namesakes], results["config"])
    name = ", ".join([method, *settings])
    if len(namesakes) > 1 and (not settings or name in named):
      name += f" ({folder.name})"
    stem, number = name.removesuffix(")"), 2
    while name in named:
      name, number = f"{stem}, {number})", number + 1
    named[name] = results
  return named


def _distinctions(configs: Sequence[Mapping], config: Mapping) -> list[str]:
  """`key=value` of `config` where `configs` differ, but for what has a column or must agree."""
  flat = [flatten_dict(other, sep=".") for other in configs]
  shown = {"learning_rate", "seed_axis", "seeds_together", *SHARED_SETTINGS}
  values = flatten_dict(config, sep=".")
  keys = [key for key in values if key.split(".")[0] not in shown and _concerns(key, config)]
  # A key that an older run did not have yet tells nothing.
  differing = [
    key for key in keys if any(other.get(key, values[key]) != values[key] for other in flat)
  ]
  return [f"{key}={values[key]}" for key in differing]


def _concerns(key: str, config: Mapping) -> bool:
  """Whether the run's method or model takes the setting, as the group before its dot tells.

  >>> config = {"method": "er_ace+tag_adam"}
  >>> [_concerns(key, config) for key in ("er.strength", "tag.b", "mas.norm")]
  [True, True, False]
  """
  group = key.split(".")[0]
  if group in (key, "memory", config.get("model")):
    return True
  return any(member.startswith(group) for member in str(config["method"]).split("+"))


def differing_settings(runs: Mapping[str, Results]) -> list[str]:
  """Where the runs differ though they should agree: a line a setting, empty if they agree."""
  configs = {name: results["config"] for name, results in runs.items()}
  models = {str(config.get("model")) for config in configs.values()}
  lines = []
  for key in (*SHARED_SETTINGS, *sorted(models)):
    names: dict[str, list[str]] = {}
    for name, config in configs.items():
      names.setdefault(json.dumps(config.get(key), sort_keys=True), []).append(name)
    if len(names) > 1:
      described = "; ".join(f"{value} in {', '.join(those)}" for value, those in names.items())
      lines.append(f"config.{key} is {described}")
  return lines


def comparison_rows(runs: Mapping[str, Results], definition: str) -> list[Row]:
  """One row a run; accuracies and forgetting in percent, mean ± std over seeds."""
  rows = []
  for name, results in runs.items():
    matrices = metrics.as_accuracy_matrix(results["accuracy_matrix"])
    ddof = results["definitions"]["ddof"]
    figures = {
      "average accuracy (%)": metrics.average_accuracy(matrices),
      f"forgetting (%, {definition})": metrics.forgetting(matrices, definition),
      "learning accuracy (%)": metrics.learning_accuracy(matrices),
    }
    texts = {
      title: mean_and_std(*metrics.summarise(values, ddof)[:2]) for title, values in figures.items()
    }
    rows.append(
      {
        "method": name,
        "learning rate": f"{results['config'].get('learning_rate', float('nan')):g}",
        **texts,
        "seeds": str(len(matrices)),
        "seconds": f"{results['seconds']['total']:.0f}",
        "commit": _commit(results),
      }
    )
  return rows


def markdown_report(
  runs: Mapping[str, Results],
  definition: str,
  *,
  differences: Sequence[str] = (),
  picture: str | None = None,
  command: str = "",
) -> str:
  """The comparison as Markdown: settings, table, picture, and the commands behind them."""
  first = next(iter(runs.values()))
  shared = [
    f"{key}={config_value}"
    for key in SHARED_SETTINGS
    if (config_value := first["config"].get(key)) is not None
    and all(results["config"].get(key) == config_value for results in runs.values())
  ]
  lines = [
    f"Settings of all runs: `{' '.join(shared)}`.",
    "",
    f"Mean ± standard deviation over seeds, {_spread(runs)}; forgetting in the definition "
    f'"{definition}"; seconds are those of the whole run, all seeds.',
    "",
    markdown_table(comparison_rows(runs, definition)),
    "",
  ]
  if differences:
    lines += ["**The runs differ in more than the method:**", ""]
    lines += [f"- {line}" for line in differences] + [""]
  if picture:
    lines += [f"![average accuracy and forgetting of each method](<{picture}>)", ""]
  lines += [f"Table: `{command}`. Runs:" if command else "Runs:", ""]
  lines += [f"- {name}: {_origin(results)}" for name, results in runs.items()]
  return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
  """The command line; returns the exit status."""
  options = _parse(arguments)
  try:
    _compare(options)
  except (TagjaxError, OSError) as error:
    print(f"compare: {error}", file=sys.stderr)
    return 1
  return 0


def _compare(options: argparse.Namespace) -> None:
  runs = load_runs(options.run_dirs)
  definition = options.forgetting or _common_definition(runs)
  differences = differing_settings(runs)
  if differences and not options.allow_differences:
    raise CompareError(
      f"the runs differ in more than the method: {'; '.join(differences)}. "
      "Run them with the same settings, or add --allow-differences"
    )
  rows = comparison_rows(runs, definition)
  console = Console()
  # Into a file or pipe whole lines: without a terminal rich folds at 80 columns.
  console.width = console.width if console.is_terminal else 200
  console.print(rich_table(rows, f"mean ± std over seeds, {_spread(runs)}"))
  for line in differences:
    print(f"note: {line}", file=sys.stderr)
  if options.picture:
    plot_comparison(runs, definition=definition).savefig(options.picture)
  if options.markdown:
    target = Path(options.markdown)
    picture = _relative(options.picture, target.parent) if options.picture else None
    text = markdown_report(
      runs, definition, differences=differences, picture=picture, command=options.command
    )
    target.write_text(text, encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m tagjax.report.compare", description="Sets the results of runs side by side."
  )
  parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", help="workdir of a finished run")
  parser.add_argument("--markdown", metavar="FILE", help="write the table with its origin")
  parser.add_argument("--picture", metavar="FILE.png", type=_picture, help="draw the comparison")
  parser.add_argument(
    "--forgetting", choices=DEFINITIONS, help="definition of forgetting; default: that of the runs"
  )
  parser.add_argument(
    "--allow-differences", action="store_true", help="compare runs whose settings differ"
  )
  options = parser.parse_args(arguments)
  typed = sys.argv[1:] if arguments is None else arguments
  options.command = shlex.join([*parser.prog.split(), *map(str, typed)])
  return options


def _picture(path: str) -> str:
  if Path(path).suffix not in (".png", ".pdf", ".svg"):
    raise argparse.ArgumentTypeError(f"{path!r} must end in .png, .pdf or .svg")
  return path


def _read_results(folder: Path) -> Results:
  path = folder / "results.json"
  results = read_json(path)
  if isinstance(results, dict) and "points" in results:
    raise ResultsError(f"{path} is that of a grid (config.sweep): run what it chose, then compare")
  for key in ("accuracy_matrix", "definitions", "config", "seconds"):
    if not isinstance(results, dict) or key not in results:
      raise ResultsError(f"{path} holds no {key!r}: it is no results file of tagjax; run it again")
  try:
    matrices = metrics.as_accuracy_matrix(results["accuracy_matrix"])
  except ValueError as error:
    raise ResultsError(f"accuracy_matrix in {path} cannot be used: {error}") from error
  if matrices.ndim != 3 or np.isnan(matrices[:, -1]).any():
    raise ResultsError(f"accuracy_matrix in {path} lacks seeds or tasks: run it again")
  return results


def _common_definition(runs: Mapping[str, Results]) -> str:
  found = sorted({results["definitions"]["forgetting"] for results in runs.values()})
  if len(found) > 1:
    raise CompareError(
      f"the runs use different definitions of forgetting ({', '.join(found)}): "
      f"choose one with --forgetting={found[0]}"
    )
  return found[0]


def _spread(runs: Mapping[str, Results]) -> str:
  found = sorted({results["definitions"]["ddof"] for results in runs.values()})
  return f"ddof {' or '.join(str(ddof) for ddof in found)}"


def _commit(results: Results) -> str:
  commit = (results.get("provenance") or {}).get("commit")
  if not commit:
    return "unknown"
  return commit[:9] + ("+changes" if results["provenance"].get("dirty") else "")


def _origin(results: Results) -> str:
  provenance = results.get("provenance") or {}
  packages = provenance.get("packages") or {}
  devices = provenance.get("devices") or {}
  parts = [f"`{results.get('command', 'command unknown')}`", f"commit {_commit(results)}"]
  if packages.get("jax"):
    parts.append(f"jax {packages['jax']}, Python {provenance.get('python')}")
  if devices:
    parts.append(f"{devices.get('kind')} ({devices.get('platform')})")
  return ", ".join(parts)


def _relative(path: str, folder: Path) -> str:
  return Path(os.path.relpath(path, folder)).as_posix()


if __name__ == "__main__":
  sys.exit(main())
