"""What the pages name is there: keys, files, functions, public names; their lines are short."""

import importlib
import re
from pathlib import Path

import pytest

from tagjax.config.defaults import known_options

ROOT = Path(__file__).parents[2]
MEASURED = ("results", "tuning")  # they show commands as they were run
PAGES = [
  ROOT / "README.md",
  ROOT / "CONTRIBUTING.md",
  ROOT / "SECURITY.md",
  *(path for path in sorted((ROOT / "docs").glob("*.md")) if not path.stem.startswith(MEASURED)),
]
WITH_LONG_TABLES = (
  *("agem_protocol", "attacks", "benchmarks", "class_incremental", "data", "performance"),
)
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()


def name(path: Path) -> str:
  return path.name


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_keys_exist(path):
  known = known_options()
  sections = {key.split(".")[0] for key in known}
  own = {"pull", "two_layers", "bells", "image_folders"}  # of the guides
  for key in re.findall(r"-config\.([a-z_]+(?:\.[a-z_0-9]+)?)", path.read_text()):
    key = key.removeprefix("search.")  # a range of that key
    assert key in known or key in sections or key.split(".")[0] in own, key


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_keys_of_sections_exist(path):
  """As in `memory.per=total`: a section of the config, and a key that it has."""
  known = known_options()
  sections = {key.split(".")[0] for key in known if "." in key}
  for section, key in re.findall(r"`([a-z_0-9]+)\.([a-z_0-9]+)(?:=[^=`][^`]*)?`", path.read_text()):
    if section in sections and key != "db":  # a file
      assert f"{section}.{key}" in known, f"{section}.{key}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_exist(path):
  folders = "tagjax|tests|configs|bench|notebooks|examples|docs"
  for file in re.findall(rf"`((?:{folders})/[\w/.*]+)`", path.read_text()):
    assert file.endswith("pull.py") or list(ROOT.glob(file)), file


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_public_names_exist(path):
  for dotted in set(re.findall(r"\btagjax((?:\.[A-Za-z_]\w*)+)\b", path.read_text())):
    if dotted not in (".dev", ".datasets"):
      assert resolves(f"tagjax{dotted}"), dotted


def resolves(dotted: str) -> bool:
  """Whether it is a module, or an attribute of one."""
  module, *rest = dotted.split(".")
  found = importlib.import_module(module)
  for part in rest:
    module = f"{module}.{part}"
    try:
      found = getattr(found, part)
    except AttributeError:
      try:
        found = importlib.import_module(module)
      except ImportError:
        return False
  return True


def test_functions_of_the_architecture_are_in_their_files():
  found = re.findall(r"`([\w.]+)`\s+\(\[[^]]*\]\(\.\./([^)]+)\)", ARCHITECTURE)
  assert len(found) > 20
  for function, file in found:
    source = (ROOT / file).read_text()
    assert re.search(rf"\b{function.split('.')[-1].split('(')[0]}\b", source), (function, file)


def test_the_diagram_shows_every_package_once():
  diagram = re.search(r"```text\n(.*?)```", ARCHITECTURE, re.DOTALL)[1]
  shown = re.findall(r"\b(\w+)/", diagram)
  packages = [path.parent.name for path in (ROOT / "tagjax").glob("*/__init__.py")]
  assert sorted(shown) == sorted(packages)


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_lines_are_short(path):
  text = path.read_text()
  if path.stem in WITH_LONG_TABLES:
    text = re.sub(r"^```.*?^```|^\|.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
  long = [line for line in text.splitlines() if len(line) > 120]
  assert not long or path.stem == "differences"
