"""The check of A-GEM against a trace of its repository: two tasks of some of its methods.

`agem_small.npz` holds the first two tasks of some runs of the authors' graphs, and the metrics
of given accuracies.
"""

from pathlib import Path

import check_agem
import numpy as np
import pytest
from deviations import Deviations

TRACE = Path(__file__).with_name("agem_small.npz")
LINES = ["fc_ewc", "fc_rwalk", "je_pi", "je_mas", "je_agem"]
METRICS = ["metrics_seen", "metrics_all", "metrics_ragged"]


def test_the_library_follows_the_trace(capsys):
  assert check_agem.check(str(TRACE), 1e-5)
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines] == LINES + METRICS
  assert all(line.split()[2] == "ok" for line in lines)


def test_what_differs_is_told(tmp_path, capsys):
  """A number of a run and one of the metrics are changed, late in the stream."""
  with np.load(TRACE) as file:
    keys = {key: file[key] for key in file.files if key.startswith(("metrics", "je"))}
  keys = {key: value for key, value in keys.items() if not key.startswith(("je_pi", "je_agem"))}
  keys["je_mas_importance"][-1, 3] += 1e-2
  keys["metrics_all_forgetting"][0, -1] += 1e-3
  path = tmp_path / "changed.npz"
  np.savez(path, **keys)
  assert not check_agem.check(str(path), 1e-5)
  said = {line.split()[0]: line.split()[2] for line in capsys.readouterr().out.splitlines()}
  failed = [name for name, word in said.items() if word == "FAILED"]
  assert failed == ["je_mas", "metrics_all"]


def test_deviations_are_relative_to_the_largest_number():
  deviations = Deviations(1e-3)
  deviations.add("state", [1.0, 200.1], [1.0, 200.0])
  assert deviations.largest == {"state": pytest.approx(5e-4)}
  assert deviations.is_small()
  for found in ([1.0], [1.0, np.nan]):
    deviations.add("state", found, [1.0, 200.0])
    assert deviations.worst() == np.inf
