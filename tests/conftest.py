"""Settings of the whole suite: strict numerics, several CPU devices, folders of its own."""

import atexit
import gc
import os
import pathlib
import shutil
import signal
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit what their parent sets here
  _FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tagjax-tests-"))
  atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
  # Nothing is written to the home folder, and no test depends on what happens to be there.
  os.environ["TAGJAX_CACHE_DIR"] = str(_FOLDER / "cache")
  os.environ["TAGJAX_TESTS_REAL_DATA"] = os.environ.get("TFDS_DATA_DIR", "")
  os.environ["TFDS_DATA_DIR"] = str(_FOLDER / "data")
  # What one test has compiled another need not, nor a process of launch.py.
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_FOLDER / "compiled")
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import chex
import jax
import launcher
import pytest

# Whoever starts the suite in the background or by nohup ignores these, as do all processes that it
# starts: tests that send them would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_FLAGS = []
if jax.__version_info__ < (0, 11):  # a later XLA may know a flag no more, and would end the process
  # Small programs compile a quarter quicker where they are not cut into parts,
  _FLAGS.append("--xla_cpu_parallel_codegen_split_count=1")
  if "TAGJAX_TESTS_COMPILE_QUICKLY" in os.environ:  # and in half the time with other code.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS])

# Before anything touches a device: the data parallel tests need four of them.
chex.set_n_cpu_devices(4)

# A silent broadcast of ranks is the commonest way for a wrong formula to run.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Their tests compile many programs that run for milliseconds.
_MOSTLY_COMPILING = {
  "contract",
  "golden",
  "memory",
  "methods",
  "models",
  "test_accelerator",
  "test_accumulator_dtype",
  "test_checks",
  "test_columns",
  "test_continuum",
  "test_current_task",
  "test_debugging",
  "test_drill",
  "test_evaluate",
  "test_freeze",
  "test_optax_schedules",
  "test_mapping",
  "test_notebooks",
  "test_optimizers",
  "test_schedules",
  "test_fingerprint",
  "test_fit",
  "test_growth",
  "test_guides",
  "test_launch",
  "test_passes",
  "test_processes",
  "test_profiler",
  "test_readme",
  "test_projection",
  "test_objects",
  "test_lab",
  "test_memory_estimate",
  "test_learner",
  "test_model",
  "test_programs",
  "test_rehearsal",
  "test_resume",
  "test_precision",
  "test_protocols",
  "test_search",
  "test_seeds",
  "test_build",
  "test_shared_state",
  "test_streaming",
  "test_tag_sharded",
  "test_trainer",
  "test_tuning",
  "test_with_task",
  "test_sweep",
}


_PARTS = {  # of `make test` and `make test-product`: whether their tests mostly compile
  "not compiling and not product": False,
  "compiling and not product": True,
  "product": True,
}


def _compiles(path):
  """Whether the tests of that module mostly compile."""
  return "tests" in path.parts and bool(_MOSTLY_COMPILING & {*path.parts, path.stem})


def pytest_ignore_collect(collection_path, config):
  """Modules of the other part need not even be imported, which takes some seconds."""
  part = _PARTS.get(config.option.markexpr)
  if part is not None and collection_path.suffix == ".py":
    return _compiles(collection_path) != part or None
  return None


def pytest_collection_modifyitems(items):
  """Marks them, so that `make test` can run them apart, and puts the long ones first."""
  for module in {item.getparent(pytest.Module) for item in items} - {None}:
    if _compiles(module.path):
      module.add_marker("compiling")
  # Modules with long tests first: at the end both workers have short ones to share out.
  long = {item.path for item in items if item.get_closest_marker("slow")}
  items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish():
  """What has been imported stays: the garbage collector need not look through it again."""
  gc.freeze()
  gc.set_threshold(20_000, 20, 20)


# Of the whole module: runs that are compared may belong to its fixtures.
@pytest.fixture(autouse=True, scope="module")
def _compile_quickly(request):
  if request.node.get_closest_marker("compiling") is None:
    yield
    return
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
  processes = launcher.Launcher(tmp_path_factory.mktemp("launch"))
  yield processes
  processes.close()
