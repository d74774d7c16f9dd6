"""A run works without compiled programs, and no operation of it makes a NaN."""

import jax
import numpy as np
import pytest

import tagjax
from tagjax.methods.tag import tag_method


@pytest.mark.product  # XLA compiles hundreds of operations one by one
def test_a_run_in_plain_python():
  stream = tagjax.load_benchmark("permuted_digits", num_tasks=2, train_examples_per_task=2)
  model = tagjax.models.MLP(stream.spec.num_outputs, hidden=())
  with jax.debug_nans(True), jax.disable_jit():
    run = tagjax.fit(stream, model, tag_method(1e-3, 2), batch_size=2, progress=False)
  assert np.isfinite(np.array(run.results["accuracy_matrix"][0][1])).all()
  # The log keeps None where a task is not a past one.
  assert [[value is None for value in row] for row in run.results["task_relatedness"][0]] == [
    [True, True],
    [False, True],
  ]
