"""The figures of results.json, files that are never half written, and where a run came from."""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from tagjax import metrics
from tagjax.errors import TagjaxError

PACKAGES = ("tagjax", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
"""The packages whose versions `provenance` lists."""


class ResultsError(TagjaxError, ValueError):
  """A file of a run is missing or cannot be read; the message names it and the way out."""


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


def as_json(value: Any, where: str = "") -> Any:
  """`value` as plain JSON: NumPy becomes numbers and lists, NaN becomes None.

  Raises:
    ValueError: for an infinity or a type that JSON does not have, naming its place.

  >>> as_json({"loss": np.float32(0.5), "row": np.array([1.0, np.nan]), "pair": (1, None)})
  {'loss': 0.5, 'row': [1.0, None], 'pair': [1, None]}
  """
  if isinstance(value, np.generic | np.ndarray | jax.Array):
    value = np.asarray(value).tolist()
  if isinstance(value, dict):
    return {str(key): as_json(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [as_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
  if isinstance(value, float) and math.isnan(value):
    return None
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, float) and math.isfinite(value):
    return value
  raise ValueError(f"{where or 'the value'} is {value!r}, which JSON cannot hold")


def write_json_atomic(path: str | os.PathLike, value: Any) -> None:
  """Writes `value` (see `as_json`) so that `path` holds the old file or the new one, never half.

  Raises:
    ValueError: if `value` cannot be JSON.
    OSError: if the file cannot be written.
  """
  path = Path(path)
  text = _collapse(json.dumps(as_json(value), indent=2, allow_nan=False, ensure_ascii=False)) + "\n"
  # In the same folder: a rename is atomic only within a file system.
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
  try:
    with open(handle, "w", encoding="utf-8") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's file is for its owner only
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.unlink(temporary)
    raise


def read_json(path: str | os.PathLike) -> Any:
  """Reads a JSON file.

  Raises:
    ResultsError: if it is missing or no JSON.
  """
  try:
    return json.loads(Path(path).read_text(encoding="utf-8"))
  except FileNotFoundError as error:
    raise ResultsError(
      f"there is no {path}: has the run ended, and is the folder right?"
    ) from error
  except OSError as error:
    raise ResultsError(f"cannot read {path}: {error.strerror}") from error
  except ValueError as error:
    raise ResultsError(
      f"{path} is no JSON ({error}): delete it and run again, or restore a copy"
    ) from error


def provenance() -> dict[str, Any]:
  """Which code ran on what.

  Returns:
    `commit` (None outside a git checkout of tagjax, or without git), `dirty` (whether tracked
    files differ from the commit; None without one), `python`, `packages` with their versions,
    `machine`, and `devices`: their `platform`, `kind` and `count`.
  """
  devices = jax.devices()
  commit, dirty = _git_commit(Path(__file__).parent)
  return {
    "commit": commit,
    "dirty": dirty,
    "python": platform.python_version(),
    "packages": {name: _version(name) for name in PACKAGES},
    "machine": f"{platform.system()} {platform.machine()}",
    "devices": {
      "platform": devices[0].platform,
      "kind": devices[0].device_kind,
      "count": len(devices),
    },
  }


def _padded(curves: Any, length: int) -> np.ndarray:
  """`[S, T, length]`: curves that ended early are filled up with NaN."""
  rows = [[list(task)[:length] for task in seed] for seed in curves]
  filled = [[task + [None] * (length - len(task)) for task in seed] for seed in rows]
  return np.asarray(filled, np.float64)


def _collapse(text: str) -> str:
  """Puts lists of plain values on one line each, so that a matrix looks like one."""
  # JSON escapes the newlines within strings: a bracket before a newline is always a list's.
  innermost = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")
  return innermost.sub(lambda found: "[" + re.sub(r",\n\s*", ", ", found[1]) + "]", text)


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git_commit(folder: Path) -> tuple[str | None, bool | None]:
  # An installed tagjax may lie inside somebody else's checkout: its files must be tracked there.
  if _git(folder, "ls-files", "--error-unmatch", "../__init__.py") is None:
    return None, None
  commit = _git(folder, "rev-parse", "HEAD")
  changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
  return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
  try:
    done = subprocess.run(
      ["git", "-C", str(folder), *arguments],
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
  except (OSError, subprocess.SubprocessError):
    return None
  return done.stdout.strip()
