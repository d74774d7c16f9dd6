"""These tests compile far longer than they run."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _compile_quickly():
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
