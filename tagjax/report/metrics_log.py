"""Reads metrics.jsonl, the log of a run, as pandas frames.

Each line is a JSON object with `seed` and `task` (from 0): the loss of some steps, the accuracies
after a task, or diagnostics of the method for each parameter tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagjax.core import untrusted
from tagjax.storage.json_files import ResultsError

if TYPE_CHECKING:
  import pandas as pd

_PLACE = ("seed", "task", "phase", "epoch")


def read_log(path: Path) -> list[dict[str, Any]]:
  """The lines of a log.

  Raises:
    ResultsError: if the file is missing, or a line is not JSON.
  """
  try:
    lines = untrusted.read_bytes(path).splitlines()
  except FileNotFoundError as error:
    raise ResultsError(
      f"there is no {path}: the log was not kept with the results; run again with a workdir"
    ) from error
  except (OSError, ValueError) as error:
    raise ResultsError(f"cannot read {path}: {error}") from error
  rows = []
  for number, line in enumerate(lines, start=1):
    try:
      row = untrusted.parse_json(line)
      if not isinstance(row, dict):
        raise ValueError("it is no object")
    except ValueError as error:
      raise ResultsError(
        f"line {number} of {path} is not JSON ({error}): restore a copy, or run again"
      ) from error
    rows.append(untrusted.plain_strings(row))
  return rows


def training_curve(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """Loss and accuracy while training, a row a chunk of steps.

  Args:
    rows: see `read_log`.

  Returns:
    The columns `seed`, `task` (from 0), `phase`, `epoch`, `step` (of the epoch, at the end of the
    chunk), `total_step` (of the whole stream, so far), `loss` and `accuracy` (means over the chunk,
    of the training batches, before each step; accuracy a fraction).

  >>> rows = [{"seed": 1, "task": 0, "step": 5, "loss": 2.0}, {"seed": 1, "task": 1, "step": 3}]
  >>> training_curve([*rows[:1], rows[1] | {"loss": 1.0}])["total_step"].tolist()
  [5, 8]
  """
  curve = [
    dict(zip(_PLACE, place, strict=True))
    | {
      "step": row["step"],
      "total_step": done,
      "loss": row["loss"],
      "accuracy": row.get("accuracy"),
    }
    for row, place, done in _chunks(rows)
  ]
  columns = [*_PLACE, "step", "total_step", "loss", "accuracy"]
  import pandas as pd  # a third of a second, which a run has no use for

  return pd.DataFrame(curve, columns=columns)


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], tuple, int]]:
  """Each row of training, its place, and the steps of its seed so far."""
  done: dict[Any, int] = {}
  last: dict[Any, tuple] = {}
  for row in rows:
    if "loss" not in row:
      continue
    seed, place = row["seed"], tuple(row.get(key) for key in _PLACE)
    before = last.get(seed)
    goes_on = before is not None and before[0] == place and row["step"] > before[1]
    done[seed] = done.get(seed, 0) + row["step"] - (before[1] if goes_on else 0)
    last[seed] = (place, row["step"])
    yield row, place, done[seed]


def monitored(rows: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
  """What a method tells from step to step (`Method.monitor`), in long form.

  Args:
    rows: see `read_log`.
    name: of the figure, such as "posterior".

  Returns:
    The columns `seed`, `task` (from 0), `step` (of the task, at the end of the chunk), `entry` (of
    the figure, flattened, from 0) and `value`: the mean over the steps of the chunk, of which
    `chunk_steps` says how many they are.

  >>> row = {"seed": 1, "task": 3, "step": 5, "loss": 2.0}
  >>> told = {"monitored": {"posterior": [0.25, 0.75]}}
  >>> monitored([row | told], "posterior")[["task", "step", "entry", "value"]].values.tolist()
  [[3.0, 5.0, 0.0, 0.25], [3.0, 5.0, 1.0, 0.75]]
  """
  found, begun = [], {}
  for row, _, done in _chunks(rows):
    seed, task = row["seed"], row["task"]
    if begun.get(seed, (None,))[0] != task:
      begun[seed] = (task, done - row["step"])
    told = row.get("monitored") or {}
    if name in told:
      values = np.asarray(told[name], dtype=object).astype(np.float64).ravel()
      where = {"seed": seed, "task": task, "step": done - begun[seed][1]}
      found += [where | {"entry": n, "value": value} for n, value in enumerate(values.tolist())]
  import pandas as pd  # a third of a second, which a run has no use for

  return pd.DataFrame(found, columns=["seed", "task", "step", "entry", "value"])


def diagnostics(
  rows: Sequence[Mapping[str, Any]], name: str, tensor_names: Sequence[str] | None = None
) -> pd.DataFrame:
  """A diagnostic of the method by parameter tensor, in long form.

  Args:
    rows: see `read_log`.
    name: of the diagnostic, such as "task_relatedness".
    tensor_names: of the parameter tensors; numbered if not given, or not as many as there are.

  Returns:
    The columns `seed`, `task` (from 0: the one being trained), `tensor` (index), `tensor_name`,
    `other_task` (from 0; None for a diagnostic with one value a tensor) and `value`; means over
    the last epoch of the task. What is undefined has no row.
  """
  found = []
  for row in rows:
    if name not in row:
      continue
    values = np.asarray(row[name], dtype=object).astype(np.float64)
    has_names = tensor_names is not None and len(tensor_names) == len(values)
    for index, value in np.ndenumerate(values):
      if not np.isnan(value):
        tensor = index[0]
        found.append(
          {
            "seed": row["seed"],
            "task": row["task"],
            "tensor": tensor,
            "tensor_name": tensor_names[tensor] if has_names else f"tensor {tensor + 1}",
            "other_task": index[1] if len(index) > 1 else None,
            "value": value,
          }
        )
  columns = ["seed", "task", "tensor", "tensor_name", "other_task", "value"]
  import pandas as pd  # a third of a second, which a run has no use for

  return pd.DataFrame(found, columns=columns)
