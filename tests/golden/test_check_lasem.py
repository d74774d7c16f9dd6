"""The check of LASEM, and by it LASEM: against a trace of its authors' classes, and a plain one.

`lasem_small.npz`, two tasks and some of the steps, holds LASEM with hard parameter sharing over
three convolutions. The second task rolls two of them back, of which the first task has shared one.
"""

import itertools
from pathlib import Path

import check_lasem
import numpy as np
import plain_lasem
import pytest
from deviations import Deviations

TRACE = Path(__file__).with_name("lasem_small.npz")


@pytest.mark.product
def test_the_library_follows_the_trace(capsys):
  assert check_lasem.main(str(TRACE)) == 0
  (line,) = [line for line in capsys.readouterr().out.splitlines() if "is not in" not in line]
  assert line.split()[0] == "lasem_hps"
  assert line.split()[2] == "ok"
  for what in ("parameters", "posterior", "prior", "roll-back", "probabilities"):
    assert f"  {what} " in line
  assert line.endswith("all 4 decisions as in the trace")


@pytest.mark.product
def test_the_library_follows_all_methods_on_a_network_of_four_layers(tmp_path, capsys):
  """Kernels of 1, 3 and 5, an image that is not square, two hidden layers, a task that returns."""
  trace = plain_lasem.make(plain_lasem.Problem())
  path = tmp_path / "trace.npz"
  np.savez(path, **trace)
  assert check_lasem.main(str(path)) == 0
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert [words[0] for words in lines] == [*check_lasem.METHODS]
  assert {words[2] for words in lines} == {"ok"}
  chosen = {int(trace[key]) for key in trace if key.endswith("/chosen")}
  assert len(chosen) > 3  # rolling back is tried in more than one way


def test_what_differs_is_told(tmp_path, capsys):
  with np.load(TRACE) as file:
    keys = {key: file[key] for key in file.files}
  keys["lasem_hps/v1/q"][4, 2] += 1e-3
  keys["lasem_hps/v1/step/task/W2"][1, 0, 0, 0, 0] += 1e-3
  keys["lasem_hps/v1/end/shared/W2"][0, 0, 0, 0] += 1e-2
  keys["lasem_hps/v1/sharing"] = ~keys["lasem_hps/v1/sharing"]
  path = tmp_path / "changed.npz"
  np.savez(path, **keys)
  assert check_lasem.main(str(path), "lasem_hps") == 1
  words = capsys.readouterr().out.split()
  assert words[2] == "FAILED"
  large = {name for name, number in itertools.pairwise(words) if _is_large(number)}
  assert large == {"lasem_hps", "parameters", "posterior", "roll-back"}
  assert "sharing in visit 1:" in " ".join(words)


def _is_large(word: str) -> bool:
  try:
    return float(word) > check_lasem.TOLERANCE
  except ValueError:
    return False


def test_deviations_by_each_number_s_own_size():
  deviations = Deviations(1e-3, smallest=0.01)
  deviations.add("prior", [0.01001, 100.0], [0.01, 100.0])
  assert deviations.worst() == np.float64(0.01001 - 0.01) / 0.02
  # Of a trace with fewer steps each has its nearest.
  deviations.add_steps(
    "steps", [np.array([1.0]), np.array([2.0]), np.array([3.01])], [[1.0], [3.0]]
  )
  np.testing.assert_allclose(deviations.largest["steps"], 0.01 / 3.01)
  deviations.same("choice", 1, np.int32(1))
  assert deviations.decisions == 1
  deviations.same("choice", [1, 0], np.array([1, 1]))
  assert deviations.differing == ["choice: [1 0] here, [1 1] in the trace"]
