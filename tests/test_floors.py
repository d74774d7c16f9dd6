"""Imports go down the floors of the house only, in no circle; only `config` knows ConfigDict."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
  "core < metrics transforms models < memory storage datasets < methods benchmarks report "
  "distributed < input_pipeline < engine < training < config < cli verify"
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS.split("<")) for name in names.split()}
FILES = {
  ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
  for path in sorted((ROOT / "tagjax").rglob("*.py"))
}
MODULES = list(FILES)


@functools.cache
def tree(module: str) -> ast.Module:
  return ast.parse(FILES[module].read_text())


def nodes(parent: ast.AST, *, annotations: bool = True) -> Iterator[ast.AST]:
  """All nodes; those that only a type checker reads on request."""
  for node in ast.iter_child_nodes(parent):
    only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    if annotations or not only_types:
      yield node
      yield from nodes(node, annotations=annotations)


def all_imports(module: str, **which) -> set[str]:
  """What it imports, in functions too: `package.module.name`."""
  found = set()
  for node in nodes(tree(module), **which):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{module}: name the package, tagjax.x, instead of dots"
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def imports(module: str, **which) -> set[str]:
  """What it imports of tagjax."""
  return {name for name in all_imports(module, **which) if name.split(".")[0] == "tagjax"}


def module_of(name: str) -> str:
  """The module that an imported name is, or is in."""
  return name if name in FILES else name.rpartition(".")[0]


def package(module: str) -> str:
  """The name right under tagjax; empty for tagjax itself."""
  return module.split(".")[1] if "." in module else ""


PACKAGES = sorted({package(module) for module in MODULES})


def modules_of(own: str) -> list[str]:
  return [module for module in MODULES if package(module) == own]


@pytest.mark.parametrize("own", [name for name in PACKAGES if name])  # "": loaded on first use
def test_imports_go_down(own):
  assert own in FLOOR, f"{own} has no floor: give it one in {Path(__file__).name}"
  for module, name in ((one, name) for one in modules_of(own) for name in imports(one)):
    other = package(module_of(name))
    assert other, f"{module} imports {name}: name the module that defines it"
    is_below = FLOOR[other] < FLOOR[own]
    assert other == own or is_below, f"{module} imports {name}, which is not on a floor below"


def test_no_circle_of_modules():
  below = {
    module: {module_of(name) for name in imports(module, annotations=False)} - {module}
    for module in MODULES
  }
  # Raises a CycleError that names the modules.
  assert set(graphlib.TopologicalSorter(below).static_order()) == set(MODULES)


def is_private(name: str) -> bool:
  return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("own", PACKAGES)
def test_nothing_private_is_used_across_packages(own):
  for module in modules_of(own):
    for name in imports(module):
      private = any(map(is_private, name.split(".")))
      assert not private or package(name) == own, f"{module} imports {name}"
    modules = {name.rpartition(".")[2] for name in imports(module) if name in FILES}
    for node in nodes(tree(module)):
      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        text = f"{node.value.id}.{node.attr}"
        assert node.value.id not in modules or not is_private(node.attr), f"{module} uses {text}"


OF_OTHERS = {
  # The store of texts that processes share, and a process's number before a device is touched, have
  # no public name: public functions exchange arrays only, on all devices together.
  "tagjax.distributed.processes": {"jax._src.distributed"},
}
"""Private modules of other libraries that are used all the same, and why."""


def test_nothing_private_of_other_libraries_is_imported():
  private = {
    module: {
      name
      for name in all_imports(module)
      if name.split(".")[0] != "tagjax" and any(map(is_private, name.split(".")))
    }
    for module in MODULES
  }
  assert {module: names for module, names in private.items() if names} == OF_OTHERS


def test_only_config_and_the_command_line_know_configdict():
  for module in MODULES:
    text = FILES[module].read_text()
    named = "ConfigDict" in text or "ml_collections" in text
    assert not named or package(module) in ("config", "cli"), module


def test_only_the_data_sets_touch_tfds():
  for module in MODULES:
    named = "import tensorflow_datasets" in FILES[module].read_text()
    assert not named or package(module) == "datasets", module


HEAVY = ("tensorflow", "matplotlib", "pandas", "orbax", "optuna", "scipy.stats", "flax.nnx")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("program", "absent"),
  [
    ("import tagjax.cli", ("jax", "optax", "flax", "numpy")),
    ("import tagjax; tagjax.tag", (*HEAVY, "scipy", "tensorflow_datasets", "rich")),
    ("import tagjax.config.early, tagjax.config.index", ("jax", "optax", "flax", "numpy")),
    ("import tagjax.config.run", HEAVY),
    ("import tagjax.report.plots", ("jax", "pandas", "scipy")),
    ("import tagjax; tagjax.load_benchmark('permuted_digits')[0]", ("tensorflow",)),
  ],
)
def test_what_a_start_does_not_wait_for(program, absent):
  check = f"{program}\nimport sys; sys.exit(str({set(absent)} & set(sys.modules) or ''))"
  done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
  assert done.stderr.strip() == ""


def test_launcher_is_short():
  assert len((ROOT / "launch.py").read_text().splitlines()) < 70
