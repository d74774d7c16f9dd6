"""The notebooks run, and are the same as their text pairs."""

import asyncio
from pathlib import Path

import jupytext
import nbclient
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_equals_its_text_pair(name):
  notebook = jupytext.read(FOLDER / f"{name}.ipynb")
  text = jupytext.read(FOLDER / f"{name}.py")
  cells = [[(cell.cell_type, cell.source) for cell in book.cells] for book in (notebook, text)]
  assert cells[0] == cells[1], f"run: jupytext --sync notebooks/{name}.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, tmp_path):
  asyncio.set_event_loop_policy(None)
  notebook = jupytext.read(FOLDER / f"{name}.ipynb")
  client = nbclient.NotebookClient(
    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
  )
  client.execute()
