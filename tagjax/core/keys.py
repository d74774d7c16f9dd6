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
  evaluations: chex.PRNGKey


_OF_EVALUATIONS = 2**31  # far from the numbers that are folded into keys elsewhere


def run_keys(key: chex.PRNGKey) -> RunKeys:
  """Splits the key of a run into streams that never meet."""
  return RunKeys(*jax.random.split(key, 4), jax.random.fold_in(key, _OF_EVALUATIONS))
