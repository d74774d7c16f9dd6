"""The skeletons of the guides run as they stand, from a folder outside the package."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ("add_a_method", "add_a_model", "add_a_benchmark", "your_own_loop")
SMALL = ("--config.seeds=1", "--config.train_examples_per_task=40", "--config.plots=False")
OF_OWN_STREAM = ("--config.seeds=1", "--config.plots=False")


def blocks(page: str, language: str) -> list[str]:
  """The fenced blocks of a guide."""
  text = (ROOT / "docs" / f"{page}.md").read_text()
  return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write(page: str, folder: Path) -> None:
  """Blocks that begin with the name of a file become that file, the others one script."""
  script = []
  for block in blocks(page, "python"):
    name = re.match(r"# (\w+\.py)\n", block)
    if name:
      (folder / name[1]).write_text(block)
    else:
      script.append(block)
  (folder / "script.py").write_text("\n".join(script))


@pytest.fixture(params=GUIDES)
def guide(request, tmp_path):
  write(request.param, tmp_path)
  return request.param, tmp_path


@pytest.mark.product
def test_the_scripts_run(launch, guide):
  _, folder = guide
  ended = launch(script=folder / "script.py", folder=folder, strict=True)
  assert ended.code == 0, ended.stderr
  assert "Traceback" not in ended.stderr


def commands() -> list[tuple[str, str]]:
  """All calls of launch.py in the guides."""
  return [
    (page, line)
    for page in GUIDES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line.startswith("python launch.py")
  ]


@pytest.mark.parametrize(("page", "line"), commands(), ids=[page for page, _ in commands()])
def test_the_commands_run(launch, page, line, tmp_path):
  write(page, tmp_path)
  arguments = shlex.split(line)[2:]
  small = OF_OWN_STREAM if "benchmark" in line else SMALL
  ended = launch(*arguments, *small, "--workdir=run", folder=tmp_path)
  assert ended.code == 0, ended.stderr
  assert (tmp_path / "run/results.json").exists()


def test_the_guides_show_commands_for_all_three_kinds():
  keys = {key for _, line in commands() for key in re.findall(r"--config\.(\w+)=\w+:\w+", line)}
  assert keys == {"method", "model", "benchmark"}


def test_without_consolidate_a_regulariser_is_off(launch, tmp_path):
  write("your_own_loop", tmp_path)
  check = """
import numpy as np, optax, tagjax
from own_loop import train

stream = tagjax.load_benchmark("permuted_digits", num_tasks=2, train_examples_per_task=100)
model = tagjax.models.MLP(stream.spec.num_outputs, hidden=(8,))
ewc = tagjax.methods.ewc(100.0)
forgotten = ewc._replace(consolidate=tagjax.lift(optax.identity()).consolidate)
naive, without, protected = (
  train(stream, model, tagjax.chain(method, optax.sgd(0.2)), epochs=8)
  for method in (optax.identity(), forgotten, ewc)
)
np.testing.assert_array_equal(naive, without)
assert (naive != protected).any()
assert np.isnan(naive[0, 1]) and min(naive[0, 0], naive[1, 1]) > 0.4, naive
"""
  (tmp_path / "check.py").write_text(check)
  ended = launch(script=tmp_path / "check.py", folder=tmp_path)
  assert ended.code == 0, ended.stderr
