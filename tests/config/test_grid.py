"""The keys and points of a grid, and grids that are refused."""

import pytest

from tagjax.config.defaults import base_config
from tagjax.config.grid import at_point, traced_of
from tagjax.config.settings import typed
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.core.method import identity
from tagjax.core.register import forget, register


def grid(sweep, **changes):
  config = base_config()
  config.validation_fraction = 0.1
  config.update_from_flattened_dict(changes)
  config.sweep = sweep
  return config


@pytest.fixture
def lab_pull():
  """A modifier of one's own."""

  @register("lab_pull", kind="modifier", traced=("strength",))
  def lab_pull(strength: float = 1.0, depth: int = 1):
    if not isinstance(depth, int) or depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth!r}")
    return identity()

  yield
  forget("lab_pull")


def test_a_point_is_the_settings_with_its_values():
  base = validate(grid({"tag.b": [3, 4], "mlp.hidden": [[8], [9, 9]]}, seeds=3))
  point = at_point(base, {"tag.b": 4, "mlp.hidden": [9, 9]})
  changed = {key for key in base if base[key] != point[key]}
  assert changed == {"tag.b", "mlp.hidden", "sweep"}
  assert (point["tag.b"], point["mlp.hidden"], point["sweep"]) == (4.0, (9, 9), None)
  validate(point)


def test_a_point_has_no_number_of_tasks_of_its_own():
  base = validate(grid({"learning_rate": [0.1]}, sweep_tasks=3))
  assert at_point(base, {"learning_rate": 0.1})["sweep_tasks"] is None


@pytest.mark.parametrize(
  ("sweep", "changes"),
  [
    ({"learning_rate": [0.1, 1], "tag.b": (3, 5), "method": ["tag", "er+tag"]}, {}),
    ({"der.label_strength": [0.1], "memory.capacity": [1, 2]}, {"method": "derpp+tag"}),
    ({"learning_rate": [0.1]}, {"sweep_tasks": 3}),
    ({"epochs": [1, 2], "batch_size": [5, 10], "normalization": ["unit", "signed"]}, {}),
    ({"model": ["mlp", "lenet"], "mlp.dropout": [0.0, 0.5]}, {}),
    ({"schedule": [None, "cosine"], "freeze": [["hidden*"], []]}, {}),
    ({"augmentation.crop": [0, 2]}, {}),
  ],
  ids=str,
)
def test_good_grids_pass(sweep, changes):
  validate(grid(sweep, **changes))


def test_a_grid_over_ones_own_options(lab_pull):
  values = validate(
    grid({"lab_pull.strength": [1, 2], "lab_pull.depth": [1, 2]}, method="lab_pull+tag")
  )
  assert traced_of(values, values["sweep"]) == {"lab_pull.strength"}
  with pytest.raises(ConfigError, match=r"^config.lab_pull.depth=0: must be at least 1$"):
    validate(grid({"lab_pull.depth": [1, 0]}, method="lab_pull+tag"))
  with pytest.raises(ConfigError, match=r"lab_pull.strength changes nothing in .*='tag'"):
    validate(grid({"lab_pull.strength": [1, 2]}))


def test_epochs_by_task_are_those_of_the_tasks_that_the_grid_trains():
  values = typed({"epochs": (5, 20, 20), "sweep": {"tag.b": [1.0]}, "sweep_tasks": 2})
  assert at_point(values, {"tag.b": 1.0})["epochs"] == (5, 20)
  assert at_point(values, {"epochs": [1, 2, 3]})["epochs"] == (1, 2)
  assert at_point(values, {"epochs": 7})["epochs"] == 7
  assert at_point({**values, "sweep_tasks": None}, {})["epochs"] == (5, 20, 20)


def test_inputs_of_the_programs_are_inputs_for_every_method_of_the_grid():
  two = {"method": ["tag", "stable_sgd"], "learning_rate": [0.1], "tag.b": [1.0]}
  assert traced_of(validate(grid(two)), two) == {"learning_rate"}
  one = {"tag.b": [1.0], "learning_rate": [0.1], "epochs": [1]}
  assert traced_of(validate(grid(one)), one) == {"learning_rate", "tag.b"}


@pytest.mark.parametrize(
  ("sweep", "message"),
  [
    ({"learning_rte": [1.0]}, "no grid over 'learning_rte' .did you mean learning_rate"),
    ({"method.tag.b": [1.0]}, "no grid over 'method.tag.b'"),
    ({"seeds": [1, 2]}, "no grid over 'seeds'"),
    ({"sweep": [{}]}, "no grid over 'sweep'"),
    ({"blurry_fraction": [0.1]}, "no grid over 'blurry_fraction'"),
    ({"input": ["stream"]}, "no grid over 'input'"),
    ({"learning_rate": []}, r"learning_rate=\[\] must be a list of values, at least one"),
    ({"learning_rate": 0.1}, "learning_rate=0.1 must be a list"),
    ({"learning_rate": [0.1, 0.2, 0.1]}, r"\[0.1, 0.2, 0.1\] names a value twice"),
    ({"learning_rate": [0.1, -1.0]}, "config.learning_rate=-1.0: must be positive"),
    ({"learning_rate": ["fast"]}, "config.learning_rate='fast': must be a number"),
    ({"tag.b": [1.0, 100.0]}, "config.tag.b=100.0: must be a number in .0, 80."),
    ({"epochs": [1.5]}, "config.epochs=1.5: must be a whole number"),
    ({"method": ["tag", "tga"]}, "config.method='tga' is unknown .did you mean tag"),
    ({"ewc.strength": [1.0]}, "ewc.strength changes nothing in config.method='tag'.* read by ewc"),
    ({"memory.capacity": [1]}, "memory.capacity changes nothing .* read by agem, bic, er, der"),
    ([0.1, 0.2], "must name keys and their values"),
    ([], "must name keys and their values"),
    ({}, "must name keys and their values"),
    ("{'learning_rate': [null]}", "it is read as Python: None, True"),
    ({"learning_rate": [0.1, float("nan")]}, "config.learning_rate=nan: must be a finite number"),
    (
      {key: list(range(1, 1001)) for key in ("learning_rate", "epochs", "batch_size")},
      "the grid has 1000000000 points, must have at most 10000",
    ),
  ],
  ids=str,
)
def test_impossible_grids_are_refused(sweep, message):
  with pytest.raises(ConfigError, match=message) as error:
    validate(grid(sweep))
  assert "\n" not in str(error.value)
  assert str(error.value).startswith("config.")


def test_a_grid_needs_validation_examples_and_its_tasks_a_grid():
  with pytest.raises(ConfigError, match=r"set config\.validation_fraction"):
    validate(grid({"learning_rate": [0.1]}, validation_fraction=0.0))
  with pytest.raises(ConfigError, match=r"sweep_tasks=3: there is no config\.sweep"):
    validate(grid(None, sweep_tasks=3))
