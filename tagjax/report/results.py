"""The figures of results.json."""

from collections.abc import Mapping, Sequence
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
  sizes: ArrayLike | None = None,
  ddof: int = 1,
) -> dict[str, Any]:
  """The figures of a run over all its seeds, ready for JSON.

  Args:
    matrices: `[S, T, T]`, an accuracy matrix a seed (see `tagjax.metrics.matrix`); NaN or None
      where not evaluated.
    forgetting_definition: see `tagjax.metrics.forgetting`.
    baseline: `[S, T]` or `[T]`, accuracies of the untrained network; gives `forward_transfer`.
    curves: `[S][T][b]`, accuracy on each task before any and after each of its first minibatches;
      gives `learning_curves`, `zero_shot_accuracy` and, of `beta` above 0, `learning_curve_area` in
      both forms. Tasks may have fewer than `beta` minibatches.
    beta: see `tagjax.metrics.learning_curve_area`.
    sizes: `[T]`, test images of each task; gives `average_incremental_accuracy`.
    ddof: see `tagjax.metrics.summarise`.

  Returns:
    `accuracy_matrix` `[S][T][T]`; `average_accuracy`, `forgetting`, `worst_case_forgetting`,
    `learning_accuracy`, `backward_transfer`, and where asked for `forward_transfer`,
    `zero_shot_accuracy`, `learning_curve_area`, `learning_curve_area_trapezoid` and
    `average_incremental_accuracy` (with `test_sizes`), each `{"mean", "std", "ci95", "per_seed"}`;
    `learning_curves` `[S][T][beta + 1]`, None after a task's last minibatch; `definitions`, which
    says how they were computed.
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
    "worst_case_forgetting": metrics.worst_case_forgetting(
      values, definition=forgetting_definition
    ),
    "learning_accuracy": metrics.learning_accuracy(values),
    "backward_transfer": metrics.backward_transfer(values),
  }
  definitions = {"forgetting": forgetting_definition, "ddof": ddof, "ci95": "Student's t"}
  if baseline is not None:
    figures["forward_transfer"] = metrics.forward_transfer(values, baseline)
  known: dict[str, Any] = {}
  if curves is not None:
    known["learning_curves"] = _padded(curves, beta + 1)
    figures |= _of_curves(known["learning_curves"], beta)
    definitions["learning_curve_area"] = {"beta": beta}
  if sizes is not None:
    known["test_sizes"] = np.asarray(sizes)
    figures["average_incremental_accuracy"] = metrics.average_incremental_accuracy(values, sizes)
  summaries = _summaries(figures, ddof)
  return as_json({"accuracy_matrix": values, **summaries, **known, "definitions": definitions})


def summarise_counts(
  counts: Mapping[str, Any],
  sizes: ArrayLike,
  *,
  continuum: int,
  lengths: Sequence[int],
  top_k: int = 1,
  classes: ArrayLike,
  ddof: int = 1,
) -> dict[str, Any]:
  """The figures of what evaluations have counted besides the accuracy matrix, ready for JSON.

  All are over the test images of the tasks so far, each image counting the same. P counts the
  lengths.

  Args:
    counts: `{name: [S][T]}` after each task, see `tagjax.training.record.RunRecord`; None where not
      evaluated.
    sizes: `[T]`, test images of each task.
    continuum: p of the accuracy matrix.
    lengths: all p that were measured, ascending.
    top_k: k of the top-k accuracy.
    classes: bool `[T, K]`, the outputs that each task teaches.
    ddof: see `tagjax.metrics.summarise`.

  Returns:
    `continuum`: its `lengths`, and `[S][T][P]` `accuracy`, `task_accuracy`, `task_aware_accuracy`
    and `top_k_accuracy` where counted, `[S][T]` `plain_accuracy` and `plain_task_aware_accuracy`.
    Of these but `accuracy`, at the end and at p = `continuum`, `{"mean", "std", "ci95",
    "per_seed"}`; the same of `recency_bias`. `predicted_tasks` `[S][T][T]`, how often classes of
    each task (last axis) were predicted after each; `confusion_matrix` `[S][K][K]` of the final
    model, true class by predicted class, and `task_classes`; `test_sizes`. `definitions` are those
    to be added.
  """
  images = np.cumsum(np.asarray(sizes))
  arrays = {
    title: _filled(counts[name], (len(lengths),) if has_lengths else ())
    for name, (title, has_lengths) in _COUNTED.items()
    if name in counts
  }
  arrays = {
    title: value / images.reshape(1, -1, *[1] * (value.ndim - 2)) for title, value in arrays.items()
  }
  place = list(lengths).index(continuum)
  figures = {
    title: value[:, -1, place] if value.ndim == 3 else value[:, -1]
    for title, value in arrays.items()
    if title != "accuracy"
  }
  known: dict[str, Any] = {"test_sizes": np.asarray(sizes)}
  if "predicted_tasks" in counts:
    known["predicted_tasks"] = _filled(counts["predicted_tasks"], (len(images),))
    figures["recency_bias"] = metrics.recency_bias(known["predicted_tasks"], sizes)[:, -1]
  if "confusion" in counts:
    known["confusion_matrix"] = np.asarray([seed[-1] for seed in counts["confusion"]])
    known["task_classes"] = [np.flatnonzero(row) for row in np.asarray(classes)]
  definitions = {"continuum": continuum} | ({"top_k": top_k} if top_k > 1 else {})
  return as_json(
    {
      **_summaries(figures, ddof),
      "continuum": {"lengths": list(lengths), **arrays},
      **known,
      "definitions": definitions,
    }
  )


def summarise_peaks(
  matrices: ArrayLike, peaks: ArrayLike, validation: Sequence, *, ddof: int = 1
) -> dict[str, Any]:
  """The figures of each task's best epoch, ready for JSON.

  Args:
    matrices: `[S, T, T]`, an accuracy matrix a seed.
    peaks: `[S][T]` peak accuracies; None where there is none.
    validation: `[S][T][E][u]` accuracies on the validation examples of each task seen, after each
      epoch of task t.
    ddof: see `tagjax.metrics.summarise`.

  Returns:
    `peak_accuracy` (mean over the tasks), `final_to_peak`, and `final_validation_accuracy`, that on
    all validation examples after the last epoch, each `{"mean", "std", "ci95", "per_seed"}`;
    `peak_accuracies` `[S][T]`, `peak_epochs` `[S][T]` from 0, and `epoch_validation` as given.

  >>> made = summarise_peaks([[[0.8]]], [[0.9]], [[[[0.5], [0.7], [0.7]]]])
  >>> made["peak_epochs"], made["peak_accuracy"]["mean"], made["final_validation_accuracy"]["mean"]
  ([[1]], 0.9, 0.7)
  """
  values = np.asarray(peaks, np.float64)
  figures = {
    "peak_accuracy": values.mean(axis=1),
    "final_to_peak": metrics.final_to_peak(matrices, values),
    "final_validation_accuracy": np.array([_final(of_seed) for of_seed in validation]),
  }
  return as_json(
    {
      **_summaries(figures, ddof),
      "peak_accuracies": values,
      "peak_epochs": [[_best(task, rows) for task, rows in enumerate(one)] for one in validation],
      "epoch_validation": validation,
    }
  )


def _best(task: int, epochs: Sequence[Sequence[float]]) -> int | None:
  """The first epoch with the most, of the task itself: it stands alone if others are no part."""
  own = [row[0] if len(row) == 1 else row[task] for row in epochs]
  return own.index(max(own)) if own else None


def _final(of_tasks: Sequence[Sequence[Sequence[float]]]) -> float:
  """Mean over all tasks, of the network of the last one, or each of its own."""
  if not all(of_tasks):
    return np.nan  # it has diverged
  last = [epochs[-1] for epochs in of_tasks]
  row = last[-1] if len(last[-1]) == len(last) else [values[0] for values in last]
  return float(np.mean(row))


_COUNTED = {
  "correct": ("accuracy", True),
  "task": ("task_accuracy", True),
  "task_aware": ("task_aware_accuracy", True),
  "top_k": ("top_k_accuracy", True),
  "plain": ("plain_accuracy", False),
  "plain_task_aware": ("plain_task_aware_accuracy", False),
}
"""The figure of each count, and whether there is one for each length."""


def _summaries(figures: Mapping[str, Any], ddof: int) -> dict[str, Any]:
  return {name: metrics.summarise(figure, ddof=ddof)._asdict() for name, figure in figures.items()}


def _filled(counts: Sequence, shape: tuple[int, ...]) -> np.ndarray:
  """Counts `[S][T]` of arrays of that shape, NaN where there are none."""
  nothing = np.full(shape, np.nan)
  return np.asarray(
    [[nothing if one is None else one for one in seed] for seed in counts], np.float64
  )


def definition_of(results: Mapping[str, Any]) -> str:
  """The definition of forgetting that the results were made with."""
  return results.get("definitions", {}).get("forgetting", "agem")


def _of_curves(curves: np.ndarray, beta: int) -> dict[str, np.ndarray]:
  """Figures of learning curves `[S, T, beta + 1]`."""
  figures = {"zero_shot_accuracy": metrics.learning_curve_area(curves, 0)}
  if beta:
    figures["learning_curve_area"] = metrics.learning_curve_area(curves, beta)
    trapezoid = metrics.learning_curve_area(curves, beta, "trapezoid")
    figures["learning_curve_area_trapezoid"] = trapezoid
  return figures


def _padded(curves: Any, length: int) -> np.ndarray:
  """`[S, T, length]`: curves that ended early are filled up with NaN."""
  rows = [[list(task)[:length] for task in seed] for seed in curves]
  filled = [[task + [None] * (length - len(task)) for task in seed] for seed in rows]
  return np.asarray(filled, np.float64)
