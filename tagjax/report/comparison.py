"""Runs side by side: their names, the settings in which they must agree, tables.

Everything here takes `{name: what results.json holds}`; `tagjax.report.runs.Runs` and the command
line, `tagjax.report.compare`, build on it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from tagjax import metrics
from tagjax.core.errors import TagjaxError
from tagjax.report.growth import growth_of
from tagjax.report.results import definition_of
from tagjax.report.tables import (
  CURVE_FIGURES,
  INCREMENTAL_FIGURES,
  PEAK_FIGURES,
  Row,
  count_text,
  markdown_code,
  markdown_table,
  markdown_text,
  mean_and_std,
  seeds_text,
)

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


def flat_config(results: Results) -> dict[str, Any]:
  """The config of a run by keys with dots, such as `tag.b`; empty if the results hold none."""
  return flatten_dict(results.get("config") or {}, sep=".")


def distinct_names(runs: Sequence[tuple[str, Results, str]]) -> list[str]:
  """A name for each run, all different.

  Namesakes are told apart by the settings in which they differ, such as `er+sgd,
  memory.capacity=10`; where that is not enough, by their folders, else by numbers.

  Args:
    runs: for each run the name that it has so far, its results, and its folder's name ("" if it
      has none).
  """
  given: list[str] = []
  for base, results, folder in runs:
    namesakes = [other for name, other, _ in runs if name == base]
    settings = _distinctions(namesakes, results) if len(namesakes) > 1 else []
    name = ", ".join([base, *settings])
    if folder and len(namesakes) > 1 and (not settings or name in given):
      name += f" ({folder})"
    stem, number = name, 2
    while name in given:
      in_brackets = stem.endswith(")")
      name = f"{stem[:-1]}, {number})" if in_brackets else f"{stem} ({number})"
      number += 1
    given.append(name)
  return given


def _distinctions(runs: Sequence[Results], results: Results) -> list[str]:
  """`key=value` where the run differs from `runs`, but for what has a column or must agree."""
  flat = [flat_config(other) for other in runs]
  shown = {"learning_rate", "seed_axis", "seeds_together", *SHARED_SETTINGS}
  values = flat_config(results)
  keys = [key for key in values if key.split(".")[0] not in shown and concerns(key, results)]
  # A key that an older run did not have yet tells nothing.
  differing = [
    key for key in keys if any(other.get(key, values[key]) != values[key] for other in flat)
  ]
  return [f"{key}={values[key]}" for key in differing]


def concerns(key: str, results: Results) -> bool:
  """Whether the run has read this key of its config.

  Results hold the keys that were read, as `used`. Older ones do not: there the group before the
  key's dot tells, which must be the model, a member of the method, or `memory`.

  Args:
    key: with dots, such as `tag.b`.
    results: what results.json holds.

  >>> results = {"config": {"method": "er_ace+mas_local+tag_adam"}}
  >>> [concerns(key, results) for key in ("er.strength", "tag.b", "mas_local.strength", "mas.norm")]
  [True, True, True, False]
  >>> concerns("tag.b", {"used": ["epochs"], "config": {"method": "tag"}})
  False
  """
  if results.get("used") is not None:
    return key in results["used"]
  config = results.get("config") or {}
  group = key.split(".")[0]
  if group in (key, "memory", config.get("model")):
    return True
  return group in {_section(member) for member in str(config.get("method")).split("+")}


def _section(member: str) -> str:
  """The section of the config that a member of a method read, when results had no `used`."""
  if member.startswith("tag_"):
    return "tag"
  return {"er_ace": "er", "derpp": "der"}.get(member, member)


def differing_settings(runs: Mapping[str, Results]) -> list[str]:
  """Where the runs differ though they should agree: a line a setting, empty if they agree."""
  configs = {name: results.get("config") or {} for name, results in runs.items()}
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


def check_comparable(
  runs: Mapping[str, Results], definition: str | None, allow_differences: bool
) -> tuple[str, list[str]]:
  """The definition of forgetting to compare with, and the settings in which the runs differ.

  Raises:
    CompareError: if the runs differ in more than the method and that is not allowed, or if they
      use different definitions of forgetting and none was chosen.
  """
  definition = definition or common_definition(runs)
  differences = differing_settings(runs)
  if differences and not allow_differences:
    raise CompareError(
      f"the runs differ in more than the method: {'; '.join(differences)}. "
      "Run them with the same settings, or allow it (--allow-differences, allow_differences=True)"
    )
  return definition, differences


def comparison_rows(runs: Mapping[str, Results], definition: str) -> list[Row]:
  """One row a run; accuracies and forgetting in percent, mean ± std over seeds.

  Peak accuracies, figures of class-incremental runs, and of how tasks begin, have a column where a
  run has them; parameters and bytes of the state that are in use at the end where they differ;
  costs where plain SGD is among the runs, of all that is allocated, see `relative_costs`.
  """
  rows = []
  costs = relative_costs(runs)
  also = [
    (name, title)
    for name, title in (*PEAK_FIGURES, *CURVE_FIGURES[:2], *INCREMENTAL_FIGURES[:6])
    if any(name in results for results in runs.values())
  ]
  sizes = _sizes(runs)
  for name, results in runs.items():
    matrices = metrics.as_accuracy_matrix(results["accuracy_matrix"])
    ddof = results.get("definitions", {}).get("ddof", 1)
    figures = {
      "average accuracy (%)": metrics.average_accuracy(matrices),
      f"forgetting (%, {definition})": metrics.forgetting(matrices, definition),
      "learning accuracy (%)": metrics.learning_accuracy(matrices),
    }
    texts = {
      title: mean_and_std(*metrics.summarise(values, ddof)[:2]) for title, values in figures.items()
    }
    texts |= {f"{title} (%)": _stored(results, figure) for figure, title in also}
    rows.append(
      {
        "method": name,
        "learning rate": _learning_rate(results),
        **texts,
        **{title: of_runs[name] for title, of_runs in sizes.items()},
        "seeds": seeds_text(results),
        "seconds": _seconds(results),
        **{title: f"{costs[name][key]:.2f}" for key, title in COSTS.items() if costs},
        "commit": commit_of(results),
      }
    )
  return rows


def _sizes(runs: Mapping[str, Results]) -> dict[str, dict[str, str]]:
  """`{column: {run: text}}` of what the runs need in the end; only columns in which they differ."""
  grown = {name: growth_of(results) for name, results in runs.items()}
  columns = {
    "parameters": {
      name: count_text(one.parameters[:, -1]) for name, one in grown.items() if one is not None
    },
    "MB in use": {
      name: f"{np.nanmean(one.bytes[:, -1]) / 1e6:.3g}"
      for name, one in grown.items()
      if one is not None and not np.isnan(one.bytes[:, -1]).all()
    },
  }
  return {
    title: {name: texts.get(name, "–") for name in runs}  # noqa: RUF001
    for title, texts in columns.items()
    if len(set(texts.values())) > 1
  }


COSTS = {"seconds": "time (x SGD)", "bytes": "memory (x SGD)"}


def relative_costs(runs: Mapping[str, Results]) -> dict[str, dict[str, float]]:
  """Training time and memory of each run as multiples of plain SGD's, the first that there is.

  Time is that of training steps and task ends, without compiling and evaluating, for each seed.
  Memory is what is allocated for a seed from one step to the next, in use or not: parameters, the
  method's state and its exemplars.

  Returns:
    For each run `seconds` and `bytes`; empty if plain SGD is not among the runs, or one of them
    does not know what it took.
  """
  known = {name: _costs(results) for name, results in runs.items()}
  plain = [name for name, one in runs.items() if (one.get("config") or {}).get("method") == "sgd"]
  if not plain or None in known.values():
    return {}
  unit = known[plain[0]]
  return {name: {key: own[key] / unit[key] for key in COSTS} for name, own in known.items()}


def _costs(results: Results) -> dict[str, float] | None:
  seconds = (results.get("seconds") or {}).get("train")
  held = (results.get("bytes") or {}).get("total")
  if not seconds or not held:
    return None
  return {"seconds": seconds / len(results["accuracy_matrix"]), "bytes": held}


def _stored(results: Results, name: str) -> str:
  figure = results.get(name)
  return mean_and_std(figure["mean"], figure["std"]) if figure else "–"  # noqa: RUF001


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
    f"Settings of all runs: {markdown_code(' '.join(shared))}.",
    "",
    f"Mean ± standard deviation over seeds, {spread(runs)}; forgetting in the definition "
    f'"{definition}"; seconds are those of the whole run, all seeds.',
    "",
    markdown_table(comparison_rows(runs, definition)),
    "",
  ]
  if differences:
    lines += ["**The runs differ in more than the method:**", ""]
    lines += [f"- {markdown_text(line)}" for line in differences] + [""]
  if picture:
    lines += [f"![average accuracy and forgetting of each method](<{picture}>)", ""]
  lines += [f"Table: {markdown_code(command)}. Runs:" if command else "Runs:", ""]
  lines += [f"- {markdown_text(name)}: {_origin(results)}" for name, results in runs.items()]
  return "\n".join(lines) + "\n"


def common_definition(runs: Mapping[str, Results]) -> str:
  """The definition of forgetting that all runs use.

  Raises:
    CompareError: if they use several.
  """
  found = sorted({definition_of(results) for results in runs.values()})
  if len(found) > 1:
    raise CompareError(
      f"the runs use different definitions of forgetting ({', '.join(found)}): "
      f"choose one with --forgetting={found[0]} or definition={found[0]!r}"
    )
  return found[0]


def spread(runs: Mapping[str, Results]) -> str:
  """How the standard deviations were computed, for captions."""
  found = sorted({results.get("definitions", {}).get("ddof", 1) for results in runs.values()})
  return f"ddof {' or '.join(str(ddof) for ddof in found)}"


def commit_of(results: Results) -> str:
  """The commit that made the results, short, with `+changes` for what was not committed."""
  commit = (results.get("provenance") or {}).get("commit")
  if not commit:
    return "unknown"
  return commit[:9] + ("+changes" if results["provenance"].get("dirty") else "")


def _learning_rate(results: Results) -> str:
  """The rate that was trained with: the chosen one, where tasks of their own chose."""
  chosen = (results.get("tuning") or {}).get("chosen") or {}
  rate = chosen.get("learning_rate", (results.get("config") or {}).get("learning_rate"))
  return f"{rate:g}" if isinstance(rate, int | float) else "–"  # noqa: RUF001


def _seconds(results: Results) -> str:
  seconds = (results.get("seconds") or {}).get("total")
  return "" if seconds is None else f"{seconds:.0f}"


def _origin(results: Results) -> str:
  provenance = results.get("provenance") or {}
  packages = provenance.get("packages") or {}
  devices = provenance.get("devices") or {}
  parts = [f"commit {commit_of(results)}"]
  if packages.get("jax"):
    parts.append(f"jax {packages['jax']}, Python {provenance.get('python')}")
  if devices:
    parts.append(f"{devices.get('kind')} ({devices.get('platform')})")
  command = markdown_code(results.get("command", "command unknown"))
  return ", ".join([command, *map(markdown_text, parts)])
