"""The check of iTAML against a trace, on a small one from NumPy."""

import check_itaml
import numpy as np
import numpy_itaml
import pytest

VARIANT = "paper_own_radam_r2"


@pytest.fixture(scope="module")
def trace():
  return numpy_itaml.make([VARIANT])


def test_the_library_follows_a_trace(trace, tmp_path, capsys):
  path = tmp_path / "trace.npz"
  np.savez(path, **trace)
  assert check_itaml.check(str(path), 1e-5)
  line = capsys.readouterr().out.strip()
  assert line.startswith(VARIANT)
  assert line.count("equal") == 3
  assert line.endswith("ok")


def test_what_differs_is_told(trace, tmp_path, capsys):
  """Each kind of number is changed in one place, the last session's."""
  changed = {key: value.copy() for key, value in trace.items()}
  changed[f"{VARIANT}.params"][-1, 3] += 1e-3
  changed[f"{VARIANT}.adapted_logits_e2"][1, 4, 0] += 1e-2
  changed["memory_label_e2"][-1] -= 1
  changed[f"{VARIANT}.chunk_task_e2_p4"][0] += 1
  changed[f"{VARIANT}.task_aware_accuracy"][2, 1] += 0.05
  path = tmp_path / "trace.npz"
  np.savez(path, **changed)
  assert not check_itaml.check(str(path), 1e-5)
  line = capsys.readouterr().out.strip()
  assert line.count("DIFFER") == 3
  assert line.endswith("FAILED")
  errors = [float(word) for word in line.split() if "e-" in word]
  assert all(error > 1e-4 for error in errors)
