"""The notebooks run, show their plots, and are the same as their text pairs."""

import asyncio
import re
from pathlib import Path

import jupytext
import nbclient
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# Fewer steps show as well that it runs; the numbers that it speaks of need them all.
FEWER_DIGITS = {
  '"permuted_digits", num_tasks=5': '"permuted_digits", num_tasks=5, train_examples_per_task=200'
}
SHORTER = {
  "analysis": FEWER_DIGITS,
  # The networks and seeds of `analysis`: its compiled programs are found.
  "quickstart": {
    **FEWER_DIGITS,
    "hidden=(100, 100)": "hidden=(64, 64)",
    '"seeds": 5': '"seeds": 3',
  },
  "finding_the_task": {"epochs=30": "epochs=2"},
  "tag_at_scale": {
    "STEPS, BATCH = 100, 16": "STEPS, BATCH = 4, 16",
    "for _ in range(300)": "for _ in range(30)",
  },
  "what_to_share": {
    "EPOCHS = 15": "EPOCHS = 1",
    "columns = train(tagjax.models.prognn(stream.spec, **sizes))": "columns = lasem",
  },
  "zero_shot": {
    "num_tasks=12": "num_tasks=3",
    "in models.items()": "in list(models.items())[1:2]",
    "STEPS, BATCH = 1500": "STEPS, BATCH = 50",
  },
}
WITH_PLOTS = (
  "analysis",
  "finding_the_task",
  "gradient_projection",
  "quickstart",
  "tag_at_scale",
  "what_to_share",
  "zero_shot",
)


SHORT = ("tag_in_your_optax_pipeline",)
"""The others run in `make test-product`."""


def _marked(name):
  return name if name in SHORT else pytest.param(name, marks=pytest.mark.product)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_equals_its_text_pair(name):
  notebook = jupytext.read(FOLDER / f"{name}.ipynb")
  text = jupytext.read(FOLDER / f"{name}.py")
  cells = [[(cell.cell_type, cell.source) for cell in book.cells] for book in (notebook, text)]
  assert cells[0] == cells[1], f"run: jupytext --sync notebooks/{name}.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", [_marked(name) for name in NAMES])
def test_notebook_runs(name, tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of the kernel
  asyncio.set_event_loop_policy(None)
  notebook = jupytext.read(FOLDER / f"{name}.ipynb")
  for cell in notebook.cells:
    cell.source = shortened(cell.source, SHORTER.get(name, {}))
  client = nbclient.NotebookClient(
    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
  )
  client.execute()
  plots = [cell for cell in notebook.cells if cell.cell_type == "code" and _draws(cell.source)]
  assert plots or name not in WITH_PLOTS
  for cell in plots:
    shown = [output.get("data", {}) for output in cell.outputs]
    assert any("image/png" in data for data in shown), f"no image is shown by: {cell.source}"


def shortened(source, changes):
  for old, new in changes.items():
    source = source.replace(old, new)
  return source


@pytest.mark.parametrize("name", SHORTER)
def test_what_is_shortened_is_there(name):
  text = (FOLDER / f"{name}.py").read_text()
  assert all(text.count(old) == 1 for old in SHORTER[name])


def _draws(source):
  """Whether a cell is to show a plot: its last line calls a plot method, or `plt.show`."""
  last = source.rstrip().splitlines()[-1]
  return re.search(r"\.plot(_\w+)?\(|plt\.show\(", last) is not None
