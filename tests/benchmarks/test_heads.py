"""Head tables: each class has one output, shared or not as the scenario says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import heads


@given(
  st.integers(1, 4), st.integers(1, 4), st.sampled_from(["task", "class", "domain"]), st.data()
)
def test_split_heads(num_tasks, per_task, scenario, data):
  num_classes = num_tasks * per_task
  order = np.array(data.draw(st.permutations(range(num_classes))))
  groups = np.split(order, num_tasks)
  outputs = heads.split_outputs(groups, num_classes, scenario)
  spec = heads.make_spec(outputs, scenario, (8, 8))
  assert outputs.dtype == np.int32
  assert spec.num_outputs == (per_task if scenario == "domain" else num_classes)
  assert spec.classes.shape == (num_tasks, spec.num_outputs)
  # Each class belongs to one task, and inside it to an output of its own.
  np.testing.assert_array_equal((outputs >= 0).sum(axis=0), 1)
  for table, taught in zip(outputs, spec.classes, strict=True):
    assert sorted(table[table >= 0]) == np.flatnonzero(taught).tolist()
    assert taught.sum() == per_task
  if scenario != "domain":
    np.testing.assert_array_equal(spec.classes.sum(axis=0), 1)


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_shared_heads(scenario):
  outputs = heads.shared_outputs(3, 2, scenario)
  spec = heads.make_spec(outputs, scenario, (8, 8))
  expected = [[1, 1, 1], [1, 1, 1]] if scenario == "domain" else np.kron(np.eye(2), np.ones(3))
  np.testing.assert_array_equal(spec.classes, np.array(expected, bool))
  assert (spec.num_tasks, spec.scenario, spec.image_shape) == (2, scenario, (8, 8))
