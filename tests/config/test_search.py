"""The keys and ranges of a search, and searches that are refused before data are read."""

import pytest

from tagjax.config import settings as all_settings
from tagjax.config.defaults import base_config
from tagjax.config.grid import at_point, traced_of
from tagjax.config.run import run_config
from tagjax.config.search import corners, space_of, study_options
from tagjax.config.search_flags import add_ranges, take_ranges
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError
from tagjax.training.space import Range


def config_of(search, **changes):
  config = base_config()
  config.validation_fraction = 0.1
  config.update_from_flattened_dict({key.replace("__", "."): changes[key] for key in changes})
  config.search = search
  return config


def test_ranges_have_the_types_of_their_keys():
  settings = validate(
    config_of(
      {
        "learning_rate": "1e-4..1e-1,log",
        "tag.b": "1..7",
        "epochs": "1..5",
        "batch_size": "10..100,log",
        "mlp.hidden": [[8], [9, 9]],
      }
    )
  )
  assert space_of(settings) == {
    "learning_rate": Range(1e-4, 0.1, log=True),
    "tag.b": Range(1.0, 7.0),
    "epochs": Range(1, 5),
    "batch_size": Range(10, 100, log=True),
    "mlp.hidden": [[8], [9, 9]],
  }
  assert traced_of(settings, space_of(settings)) == {"learning_rate", "tag.b"}


@pytest.mark.parametrize(
  ("search", "message"),
  [
    ({"learning_rte": "1e-4..1,log"}, "no search over 'learning_rte' .did you mean learning_rate"),
    ({"seeds": "1..3"}, "no search over 'seeds'"),
    ({"study.trials": "1..3"}, "no search over 'study.trials'"),
    ({"search": [1]}, "no search over 'search'"),
    ({"learning_rate": 0.1}, "learning_rate=0.1 must be such as '1e-4..1e-1,log'"),
    ({"epochs": "0.5..2"}, "epochs='0.5..2' must be whole numbers"),
    ({"method": "sgd..tag"}, "method='sgd..tag' has no numbers between two others"),
    ({"mlp.hidden": "1..2"}, "mlp.hidden='1..2' has no numbers between two others"),
    ({"learning_rate": "-1..1"}, "^config.learning_rate=-1.0: must be positive"),
    ({"tag.b": "1..100"}, "^config.tag.b=100.0: must be a number in .0, 80."),
    ({"epochs": "0..3"}, "^config.epochs=0: must be at least 1"),
    ({"epochs": ["many"]}, "config.epochs='many': must be a whole number"),
    ({"method": ["tag", "tga"]}, "config.method='tga' is unknown .did you mean tag"),
    (
      {"method": ["tag", "ewc+tag"], "ewc.strength": "-1..9"},
      "^config.ewc.strength=-1.0: must be a number in .0, inf",
    ),
    ({"ewc.strength": "1..2"}, "ewc.strength changes nothing in config.method='tag'.* read by ewc"),
    ([0.1, 0.2], r"^config.search=.0.1, 0.2.: must name keys and their ranges"),
  ],
  ids=str,
)
def test_impossible_searches_are_refused(search, message):
  with pytest.raises(ConfigError, match=message) as error:
    validate(config_of(search))
  assert "\n" not in str(error.value)
  assert str(error.value).startswith("config.")


def test_every_choice_and_end_is_checked_with_every_method():
  search = {"method": ["tag", "er+tag"], "learning_rate": "0.1..1", "memory.capacity": [1, 2, 3]}
  points = [tuple(point.values()) for point in corners(validate(config_of(search)))]
  assert points == [
    (method, rate, capacity)
    for method in search["method"]
    for rate, capacity in ((0.1, 1), (1.0, 1), (0.1, 2), (0.1, 3))
  ]


def test_a_point_is_no_search():
  settings = validate(config_of({"tag.b": "1..7"}, sweep_tasks=3))
  point = at_point(settings, {"tag.b": 2.5})
  assert (point["tag.b"], point["search"], point["sweep_tasks"]) == (2.5, None, None)
  validate(point)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"validation_fraction": 0.0}, r"^config.search chooses on .* set config\.validation_fraction"),
    ({"sweep": {"epochs": [1]}}, "^config.search does not go with config.sweep"),
    ({"study__trials": 0}, "^config.study.trials=0: must be a whole number, at least 1"),
    ({"study__study_name": ""}, "^config.study.study_name='': must not be empty"),
  ],
)
def test_what_does_not_go_with_a_search(changes, message):
  with pytest.raises(ConfigError, match=message):
    validate(config_of({"learning_rate": "0.1..1"}, **changes))


def test_a_search_is_not_profiled():
  with pytest.raises(ConfigError, match=r"^config.search does not go with --profile"):
    run_config(config_of({"learning_rate": "0.1..1"}), None, profile=True)


def test_the_folder_belongs_to_neither_place_nor_length_of_the_study():
  settings = validate(config_of({"tag.b": "1..7"}, study__trials=7, study__storage="j"))
  used = all_settings.used(settings)
  assert {key for key in used if key.startswith("study.")} == {
    "study.study_name",
    "study.seed",
    "study.prune",
    "study.prune_from",
  }
  assert all_settings.unused(settings, ["study.trials"]) == []
  assert (study_options(settings).trials, study_options(settings).storage) == (7, "j")
  alone = validate(config_of(None, study__trials=7))
  assert not any(key.startswith("study.") for key in all_settings.used(alone))
  (line,) = all_settings.unused(alone, ["study.trials"])
  assert line.endswith("it is read by config.search")


def test_flags_name_ranges_by_their_keys():
  argv = ["launch.py", "--config.search.tag.b", "1..7", "--config.search.method=['tag', 'sgd']"]
  argv += ["-config.search.learning_rate=1e-4..1,log", "--config.seeds", "2"]
  assert take_ranges(argv) == (
    ["launch.py", "--config.seeds", "2"],
    {"tag.b": "1..7", "method": ["tag", "sgd"], "learning_rate": "1e-4..1,log"},
  )
  assert take_ranges(["--config.search.epochs=3"])[1] == {"epochs": "3"}  # refused as a range


def test_flags_change_single_ranges_of_a_file():
  config = config_of({"tag.b": "1..7", "epochs": [1, 2]})
  add_ranges(config.lock(), {"tag.b": "2..3", "learning_rate": "0.1..1"})
  wanted = {"tag.b": "2..3", "epochs": [1, 2], "learning_rate": "0.1..1"}
  assert all_settings.read(config)["search"] == wanted
  add_ranges(config, {})
  assert all_settings.read(config)["search"] == wanted
  empty = base_config()
  add_ranges(empty, {"tag.b": "2..3"})
  assert all_settings.read(empty)["search"] == {"tag.b": "2..3"}
