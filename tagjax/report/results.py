"""The figures of results.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tagjax import metrics
from tagjax.storage.json_files import as_json


def summarise(
  matrices: ArrayLike,
  *,
  forgetting_definition: str = "agem",
  baseline: ArrayLike | None = None,
  curves: Any = None,
  beta: int = 10,
  kind: str = "mean",
  ddof: int = 1,
) -> dict[str, Any]:
  """The figures of a run over all its seeds, ready for JSON.

  Args:
    matrices: `[S, T, T]`, an accuracy matrix a seed (see `tagjax.metrics.matrix`); NaN or None
      where not evaluated.
    forgetting_definition: see `tagjax.metrics.forgetting`.
    baseline: `[S, T]` or `[T]`, accuracies of the untrained network; gives `forward_transfer`.
    curves: `[S][T][b]`, accuracy on each task before any and after each of its first minibatches;
      gives `learning_curve_area`. Tasks may have fewer than `beta` minibatches.
    beta: see `tagjax.metrics.learning_curve_area`.
    kind: see `tagjax.metrics.learning_curve_area`.
    ddof: see `tagjax.metrics.summarise`.

  Returns:
    `accuracy_matrix` `[S][T][T]`; `average_accuracy`, `forgetting`, `learning_accuracy`,
    `backward_transfer`, and where asked for `forward_transfer` and `learning_curve_area`, each
    `{"mean", "std", "ci95", "per_seed"}`; `definitions`, which says how they were computed.
    Accuracies are fractions. None stands for NaN: not evaluated, or undefined (the forgetting of
    a single task, the spread of a single seed).

  Raises:
    ValueError: if an argument does not fit, see `tagjax.metrics`.

  >>> matrix = [[0.80, None, None], [0.70, 0.90, None], [0.75, 0.95, 0.60]]
  >>> results = summarise([matrix, matrix], forgetting_definition="tag")
  >>> round(results["forgetting"]["mean"], 6), results["definitions"]["forgetting"]
  (0.025, 'tag')
  """
  values = metrics.as_accuracy_matrix(matrices)
  if values.ndim != 3:
    raise ValueError(
      f"matrices has shape {values.shape}, must be [S, T, T] with one matrix a seed: "
      "put brackets around the matrix of a single seed"
    )
  figures = {
    "average_accuracy": metrics.average_accuracy(values),
    "forgetting": metrics.forgetting(values, definition=forgetting_definition),
    "learning_accuracy": metrics.learning_accuracy(values),
    "backward_transfer": metrics.backward_transfer(values),
  }
  definitions = {"forgetting": forgetting_definition, "ddof": ddof, "ci95": "Student's t"}
  if baseline is not None:
    figures["forward_transfer"] = metrics.forward_transfer(values, baseline)
  if curves is not None:
    area = metrics.learning_curve_area(_padded(curves, beta + 1), beta, kind)
    figures["learning_curve_area"] = area
    definitions["learning_curve_area"] = {"beta": beta, "kind": kind}
  summaries = {
    name: metrics.summarise(figure, ddof=ddof)._asdict() for name, figure in figures.items()
  }
  return as_json({"accuracy_matrix": values, **summaries, "definitions": definitions})


def definition_of(results: Mapping[str, Any]) -> str:
  """The definition of forgetting that the results were made with."""
  return results.get("definitions", {}).get("forgetting", "agem")


def _padded(curves: Any, length: int) -> np.ndarray:
  """`[S, T, length]`: curves that ended early are filled up with NaN."""
  rows = [[list(task)[:length] for task in seed] for seed in curves]
  filled = [[task + [None] * (length - len(task)) for task in seed] for seed in rows]
  return np.asarray(filled, np.float64)
