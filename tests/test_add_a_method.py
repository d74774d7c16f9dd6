"""The skeleton of docs/add_a_method.md is a method that works."""

import re
from pathlib import Path

import helpers
import jax
import numpy as np
import optax

from tagjax.core.method import chain

GUIDE = Path(__file__).parents[1] / "docs/add_a_method.md"


def test_the_skeleton_runs_through_the_stream():
  source = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
  module: dict = {}
  exec(compile(source, str(GUIDE), "exec"), module)
  stream = helpers.spec()
  ends = {}
  for strength in (0.0, 5.0):
    run = helpers.programs(stream, chain(module["pull"](strength), optax.sgd(0.1)))
    first = helpers.train_stream(run, stream, jax.random.key(0), tasks=[0])
    first = np.asarray(first.variables["params"]["Dense_0"]["kernel"])
    last = helpers.train_stream(run, stream, jax.random.key(0))
    ends[strength] = np.abs(np.asarray(last.variables["params"]["Dense_0"]["kernel"]) - first).max()
    assert last.method[0].tasks == stream.num_tasks
    assert all(count == 1 for count in run.traces.values())
  assert ends[5.0] < ends[0.0]  # the pull keeps the parameters nearer to those of the first task
