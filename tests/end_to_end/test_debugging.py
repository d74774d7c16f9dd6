"""JAX's means of debugging work with whole runs."""

import jax
import numpy as np

import tagjax
from tagjax.methods.tag import tag_method


def test_a_run_without_compiled_programs():
  stream = tagjax.load_benchmark("permuted_digits", num_tasks=2, train_examples_per_task=4)
  model = tagjax.models.MLP(stream.spec.num_outputs, hidden=(2,))
  options = {"batch_size": 4, "progress": False}
  with jax.debug_nans(True):
    expected = tagjax.fit(stream, model, tag_method(1e-3, 2), **options)
    with jax.disable_jit():
      run = tagjax.fit(stream, model, tag_method(1e-3, 2), **options)
  np.testing.assert_allclose(run.task_relatedness, expected.task_relatedness, rtol=1e-4)
  assert [[value is None for value in row] for row in run.results["task_relatedness"][0]] == [
    [True, True],
    [False, True],
  ]
