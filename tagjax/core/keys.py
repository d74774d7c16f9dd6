"""The random keys of a run."""

from typing import NamedTuple

import chex
import jax


class RunKeys(NamedTuple):
  """The random streams of a run, all drawn from its one key."""

  init: chex.PRNGKey
  steps: chex.PRNGKey
  order: chex.PRNGKey
  boundaries: chex.PRNGKey


def run_keys(key: chex.PRNGKey) -> RunKeys:
  """Splits the key of a run into streams that never meet."""
  return RunKeys(*jax.random.split(key, len(RunKeys._fields)))
