"""Settings of the whole suite: strict numerics, several CPU devices, folders of its own."""

import atexit
import os
import pathlib
import shutil
import tempfile

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit what their parent sets here
  _FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tagjax-tests-"))
  atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
  # Nothing is written to the home folder, and no test depends on what happens to be there.
  os.environ["TAGJAX_CACHE_DIR"] = str(_FOLDER / "cache")
  os.environ["TAGJAX_TESTS_REAL_DATA"] = os.environ.get("TFDS_DATA_DIR", "")
  os.environ["TFDS_DATA_DIR"] = str(_FOLDER / "data")

import chex
import jax
import pytest

# Before anything touches a device: the data parallel tests need four of them.
chex.set_n_cpu_devices(4)

# A silent broadcast of ranks is the commonest way for a wrong formula to run.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Their tests compile many programs that run for milliseconds.
_MOSTLY_COMPILING = {"contract", "methods", "models", "test_parallel"}


@pytest.fixture(autouse=True)
def _compile_quickly(request):
  if not _MOSTLY_COMPILING & {*request.path.parts, request.path.stem}:
    yield
    return
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
