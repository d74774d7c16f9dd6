"""Imports go down the floors of the house only; nothing imports TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
  {"core"},
  {"transforms", "metrics", "memory", "storage"},
  {"methods", "models", "datasets"},
  {"benchmarks", "report", "engine", "distributed", "config", "training", "cli", "input_pipeline"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted((ROOT / "tagjax").rglob("*.py"))


def imported(path: Path) -> set[str]:
  """Names right under tagjax that the file imports."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tagjax.")}
    elif isinstance(node, ast.ImportFrom) and node.module == "tagjax":
      names |= {a.name for a in node.names}
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tagjax."):
      names.add(node.module.split(".")[1])
  return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
  own = path.relative_to(ROOT / "tagjax").with_suffix("").parts[0]
  if own == "__init__":
    return
  assert own in FLOOR, f"{own} has no floor: give it one in {Path(__file__).name}"
  above = {name for name in imported(path) if FLOOR[name] > FLOOR[own]}
  assert not above, f"{path} imports {above} from a floor above"
  if own in ("methods", "models"):
    assert not imported(path) & ({"methods", "models"} - {own})


def test_only_the_data_side_touches_tfds():
  for path in FILES:
    if path.parent.name not in ("datasets", "builders", "benchmarks"):
      assert "import tensorflow_datasets" not in path.read_text(), path


@pytest.mark.slow
def test_tensorflow_is_not_imported():
  program = (
    "import sys, tagjax, tagjax.training.experiment; tagjax.load_benchmark('permuted_digits')[0]\n"
    "sys.exit('tensorflow' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", program], check=True)


def test_launcher_is_short():
  assert len((ROOT / "launch.py").read_text().splitlines()) < 70
