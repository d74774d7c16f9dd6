"""docs/benchmarks.md: its tables are those of the code, and its commands those of the command."""

import importlib
import math
import re
import shlex
from pathlib import Path

import pytest

from tagjax import benchmarks
from tagjax.benchmarks import __main__ as command
from tagjax.benchmarks.groups import ORDERS
from tagjax.benchmarks.table import BENCHMARKS
from tagjax.config.defaults import base_config, flat_items
from tagjax.datasets import catalog
from tagjax.datasets.loader import LARGE_BYTES
from tagjax.input_pipeline.normalization import NORMALIZATIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
MODULES = {
  path.stem: importlib.import_module(f"configs.{path.stem}")
  for path in sorted((ROOT / "configs").glob("*.py"))
}
CONFIGS = {
  stem: module.get_config() for stem, module in MODULES.items() if hasattr(module, "TUNED")
}
TASKS_OF = {"split_omniglot": "50", "image_folders": "one a folder"}
"""Numbers of tasks that the data determine."""


def streams_row(name: str) -> str:
  """What the table of the streams must say of one."""
  benchmark = BENCHMARKS[name]
  tasks = TASKS_OF[name] if benchmark.num_tasks is None else str(benchmark.num_tasks)
  data = ", ".join(f"`{source}`" for source in benchmark.sources) or "yours"
  return _row(
    f"`{name}`", data, tasks, benchmark.summary, benchmark.scenario, _image(name), _input(name)
  )


def papers_row(name: str) -> str:
  """What the table of papers and files must say of one."""
  mine = [stem for stem, config in CONFIGS.items() if config.benchmark == name]
  links = ", ".join(f"[{stem}.py](../configs/{stem}.py)" for stem in mine)
  models = ", ".join(f"`{CONFIGS[stem].model}`" for stem in mine)
  benchmark = BENCHMARKS[name]
  return _row(f"`{name}`", links, models, benchmark.paper, benchmark.published)


def _row(*cells: str) -> str:
  return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _image(name: str) -> str:
  size = BENCHMARKS[name].defaults.get("image_size")
  shape = (size, size, 3) if size else catalog.entry(BENCHMARKS[name].sources[0]).image_shape
  return " x ".join(map(str, shape))


def _input(name: str) -> str:
  known = [catalog.entry(s) for s in BENCHMARKS[name].sources if s in catalog.names()]
  if not known:
    return "by size"
  sizes = [sum(entry.sizes) * math.prod(entry.image_shape) for entry in known]
  return "streamed" if max(sizes) > LARGE_BYTES else "memory"


@pytest.mark.parametrize("name", benchmarks.names())
def test_tables_are_those_of_the_code(name):
  assert streams_row(name) in PAGE
  assert papers_row(name) in PAGE


def test_all_choices_are_named():
  for choice in (*ORDERS, *NORMALIZATIONS):
    assert f'`"{choice}"`' in PAGE or f"`{choice}`" in PAGE


def test_keys_exist():
  keys = re.findall(r"--config\.([\w.]+)", PAGE)
  assert len(keys) > 10
  assert set(keys) <= {*base_config(), *flat_items(base_config())}


def _outputs():
  """Commands of the page that describe a stream, each with the text that follows it."""
  shown = r"```sh\n(python -m tagjax\.benchmarks .+?)\n```\n\n```text\n(.*?)```"
  blocks = re.findall(shown, PAGE, re.DOTALL)
  return [(line, text) for line, text in blocks if "photographs" not in line]


@pytest.mark.parametrize(("line", "text"), _outputs())
def test_described_streams_look_as_they_are_shown(line, text, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  command.main(shlex.split(line)[3:])
  assert capsys.readouterr().out == text


def test_there_are_described_streams():
  assert len(_outputs()) >= 4
