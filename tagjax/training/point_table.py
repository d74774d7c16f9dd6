"""The points of a grid that have ended, in a file of its folder, and what it says of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from tagjax.report.form import is_numbers, is_summary
from tagjax.report.results import summarise
from tagjax.storage.json_files import as_json, read_json, write_json_atomic
from tagjax.storage.workdir import NoWorkdir, Workdir
from tagjax.training.options import RunOptions
from tagjax.training.points import Point
from tagjax.training.record import RunRecord

TABLE = "points.json"
METRICS = ("average_accuracy", "forgetting", "learning_accuracy")
_TABLE_KEYS = ("points", "seconds", "starts")


class PointTable:
  """The points that have ended, on disk since they did.

  Attributes:
    rows: place in the grid -> what results.json says of the point.
  """

  def __init__(self, folder: Workdir | NoWorkdir, points: Sequence[Point]):
    """Reads the table; rows of another form or point are made anew, of their group's record."""
    self.folder = folder
    self._path = None if folder.path is None else folder.path / TABLE
    stored = read_json(self._path) if self._path is not None and self._path.exists() else {}
    rows, seconds, starts = (
      one if isinstance(one, dict) else {}
      for one in (stored.get(key) if isinstance(stored, dict) else None for key in _TABLE_KEYS)
    )
    found = {place: rows.get(str(place)) for place in range(len(points))}
    self.rows: dict[int, dict[str, Any]] = {
      place: row for place, row in found.items() if row and _is_row(row, points[place])
    }
    self._seconds = {group: one for group, one in seconds.items() if is_numbers(one)}
    self._starts = {group: one for group, one in starts.items() if isinstance(one, list)}

  def has(self, places: list[int]) -> bool:
    """Whether all of these points have ended."""
    return all(place in self.rows for place in places)

  def keep(self, rows: dict[int, dict[str, Any]], group: int, record: RunRecord) -> None:
    """Writes these rows, and the seconds and starts of the group so far."""
    self.rows |= rows
    self._seconds[str(group)] = dict(record.seconds)
    self._starts[str(group)] = list(record.starts)
    if self._path is not None:
      self.folder.check_lock()
      parts = (self.rows, self._seconds, self._starts)
      write_json_atomic(self._path, dict(zip(_TABLE_KEYS, parts, strict=True)))

  def starts(self) -> list[dict[str, Any]]:
    """Those of all groups, each with its group."""
    return [{"group": int(group)} | one for group, own in self._starts.items() for one in own]

  def total_seconds(self) -> dict[str, float]:
    """Sums over all groups."""
    names: Mapping[str, float] = next(iter(self._seconds.values()), {})
    return {name: sum(group.get(name, 0) for group in self._seconds.values()) for name in names}


def _is_row(row: Any, point: Point) -> bool:
  """Whether this is what the table holds of a point that has ended."""
  if not isinstance(row, dict) or row.get("values") != as_json(point):
    return False
  return isinstance(row.get("diverged_seeds"), list) and all(
    name in row and (row[name] is None or is_summary(row[name])) for name in METRICS
  )


def row_of(point: Point, record: RunRecord, index: int, options: RunOptions) -> dict | None:
  """What is known of the group's point `index`; None if it has not ended."""
  own = slice(index * options.seeds, (index + 1) * options.seeds)
  matrices, diverged = record.accuracy[own], record.diverged[own]
  ended = [lost or None not in matrix[-1] for matrix, lost in zip(matrices, diverged, strict=True)]
  if not all(ended):
    return None
  if any(diverged):
    summaries = dict.fromkeys(METRICS)
  else:
    summary = summarise(matrices, forgetting_definition=options.forgetting)
    summaries = {name: summary[name] for name in METRICS}
  lost = [options.seed + place for place, where in enumerate(diverged) if where]
  return {"values": point, **summaries, "diverged_seeds": lost}
