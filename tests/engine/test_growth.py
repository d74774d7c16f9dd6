"""Which parameters are in use, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tagjax.core.types import StreamSpec
from tagjax.engine import growth
from tagjax.engine.model import checked_model
from tagjax.models import dfcnn, hps, prognn, prognn_mlp

CLASSES = np.eye(3, dtype=bool).repeat(2, axis=1)
SPEC = StreamSpec(3, 6, CLASSES, "task", (8, 8, 2))
SIZES = {"channels": (4, 5), "kernels": (3, 3), "pools": (1, 2), "hidden": ()}
HEAD = 4 * 4 * 5 * 2 + 2
CONVOLUTIONS = (3 * 3 * 2 * 4 + 4, 3 * 3 * 4 * 5 + 5)


def in_use(model, tasks, variables=None):
  shapes, stacked = checked_model(model, SPEC)
  params = shapes["params"]
  used = growth.rows_begun(stacked, params, np.array(tasks))
  tell = growth.of_model(model)
  if tell is not None:
    used = tell(variables or shapes, used, np.array(tasks))
  return int(sum(growth.counts(used, params, np)))


def test_rows_of_tasks_that_have_begun_are_in_use():
  model = hps(SPEC, sharing="top-1", **SIZES)
  for begun in range(1, 4):
    tasks = [task < begun for task in range(3)]
    assert in_use(model, tasks) == begun * (HEAD + CONVOLUTIONS[0]) + CONVOLUTIONS[1]


def lateral(column):
  """Parameters of a lateral into the second convolution, from the 4 channels of an earlier one."""
  width = max(1, 4 // (column + 1))
  return 1 + 4 * width + width + 3 * 3 * width * 5


@pytest.mark.parametrize(
  ("model", "column", "of_lateral"),
  [
    (prognn(SPEC, scale=1.0, **SIZES), HEAD + sum(CONVOLUTIONS), lateral),
    (prognn_mlp(SPEC, hidden=(7,)), 129 * 7 + 8 * 2, lambda column: 129 * 7 + 8 * 2),
  ],
)
def test_of_laterals_those_that_exist_are_in_use(model, column, of_lateral):
  wanted = 0
  for task in range(3):
    wanted += column + task * of_lateral(task)
    assert in_use(model, [other <= task for other in range(3)]) == wanted


def test_of_a_searched_network_what_the_configurations_need_is_in_use():
  generators = {"base_channels": (2, 2), "filter_sizes": (3, 3), "filter_channels": (2, 2)}
  model = dfcnn(SPEC, sharing="searched", **SIZES, **generators)
  shared = [[True, False], [False, False], [True, True]]
  variables = {"routing": {"sharing": np.array(shared)}}
  factors = [38 + 2 * inputs * outputs + outputs for inputs, outputs in ((2, 4), (4, 5))]
  base = 2 * 2 * 2
  first = HEAD + base + factors[0] + CONVOLUTIONS[1]
  second = HEAD + sum(CONVOLUTIONS)
  third = HEAD + sum(factors) + base  # the base of the second layer is used from here on
  for begun, wanted in enumerate((first, first + second, first + second + third), 1):
    assert in_use(model, [task < begun for task in range(3)], variables) == wanted


def test_what_does_not_fit_the_parameter_is_named():
  with pytest.raises(ValueError, match=r"\['w'\] has the shape \(3,\).*broadcast to \(2, 4\)"):
    growth.counts({"w": np.ones(3, bool)}, {"w": np.zeros((2, 4))})


def test_a_class_is_not_asked():
  assert growth.of_model(nn.Dense) is None
  assert growth.counts({"w": jnp.ones((), bool)}, {"w": np.zeros((2, 4))}) == [8]
