"""`load_benchmark`: the table of benchmarks, its defaults and its errors."""

import numpy as np
import pytest

from tagjax import benchmarks, datasets
from tagjax.benchmarks import load_benchmark

from .conftest import make_dataset

# name: data set, tasks, outputs, scenario
TABLE = {
  "permuted_digits": ("digits", 10, 10, "domain"),
  "rotated_digits": ("digits", 10, 10, "domain"),
  "split_digits": ("digits", 5, 10, "task"),
  "permuted_mnist": ("mnist", 20, 10, "domain"),
  "rotated_mnist": ("mnist", 20, 10, "domain"),
  "split_mnist": ("mnist", 5, 10, "task"),
  "split_fashion_mnist": ("fashion_mnist", 5, 10, "task"),
  "split_cifar10": ("cifar10", 5, 10, "task"),
  "split_cifar100": ("cifar100", 20, 100, "task"),
  "split_mini_imagenet": ("mini_imagenet", 20, 100, "task"),
  "split_cub": ("cub200", 20, 200, "task"),
  "split_tiny_imagenet": ("tiny_imagenet", 4, 200, "task"),
  "split_svhn": ("svhn_cropped", 5, 10, "task"),
  "split_notmnist": ("not_mnist", 5, 10, "task"),
  "split_omniglot": ("omniglot_by_drawer", 3, 11, "task"),
  "split_imagenet": ("imagenet", 10, 100, "task"),
  "split_ms_celeb": ("ms_celeb", 10, 10_000, "task"),
  "split_awa2": ("awa2", 20, 1000, "task"),
  "office_home": ("office_home", 10, 130, "task"),
  "stl10_lifelong": ("stl10", 20, 200, "task"),
}
SEVERAL = {"five_datasets", "object_sequence", "image_folders"}


def test_names_are_those_of_the_table():
  assert sorted(benchmarks.names()) == sorted({*TABLE, *SEVERAL})


def test_the_docstring_tells_of_all():
  for name in benchmarks.names():
    assert f"`{name}`" in load_benchmark.__doc__


@pytest.mark.parametrize("name", TABLE)
def test_defaults(fake_load, name):
  stream = load_benchmark(name, data_dir="somewhere")
  dataset, num_tasks, num_outputs, scenario = TABLE[name]
  assert fake_load == [(dataset, "somewhere")]
  assert (stream.name, len(stream)) == (name, num_tasks)
  assert (stream.spec.num_outputs, stream.spec.scenario) == (num_outputs, scenario)
  assert stream.max_value == 255


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("name", ["split_digits", "permuted_digits", "rotated_digits"])
def test_every_scenario_of_every_kind(fake_load, name, scenario):
  stream = load_benchmark(name, num_tasks=2, scenario=scenario)
  is_split = name.startswith("split")
  outputs = {"domain": 5 if is_split else 10}.get(scenario, 10 if is_split else 20)
  assert (stream.spec.num_outputs, stream.spec.scenario) == (outputs, scenario)
  for experience in stream:
    for part in (experience.train, experience.test):
      assert stream.spec.classes[experience.task_id][part.label].all()


def test_cifar100_in_ten_tasks(fake_load):
  stream = load_benchmark("split_cifar100", num_tasks=10)
  np.testing.assert_array_equal(stream.spec.classes.sum(axis=1), 10)
  assert stream.task_names[9] == "classes 90-99"


@pytest.mark.parametrize("name", ["split_digits", "permuted_digits", "rotated_digits"])
def test_all_options_reach_the_stream(fake_load, name):
  stream = load_benchmark(
    name,
    num_tasks=2,
    validation_fraction=0.2,
    data_seed=7,
    train_examples_per_task=40,
    test_examples_per_task=15,
  )
  assert stream.sizes == [(32, 8, 15)] * 2
  other = load_benchmark(name, num_tasks=2, train_examples_per_task=40, data_seed=8)
  assert not np.array_equal(other[1].train.image[:8], stream[1].train.image[:8])
  same = load_benchmark(name, num_tasks=2, train_examples_per_task=40, data_seed=8)
  np.testing.assert_array_equal(other[1].train.image, same[1].train.image)


def test_order_of_classes_reaches_the_stream(fake_load):
  order = (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
  assert load_benchmark("split_digits", class_order=order).task_names[0] == "classes 9, 8"


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"name": "split_cifar"}, "benchmark='split_cifar' is unknown .*split_cifar10 or"),
    (
      {"name": "omniglt"},
      "benchmark='omniglt' is unknown .did you mean split_omniglot.* There are: perm",
    ),
    ({"name": None}, "benchmark=None"),
    ({"num_tasks": 0}, "num_tasks is 0"),
    ({"num_tasks": -5}, "num_tasks is -5"),
    ({"num_tasks": 2.0}, "num_tasks is 2.0"),
    ({"num_tasks": 4}, "num_tasks is 4, which does not divide the 10 classes: .* 1, 2, 5, 10"),
    ({"scenario": "domains"}, "scenario='domains' is unknown .did you mean domain"),
    ({"validation_fraction": 1.5}, "validation_fraction is 1.5"),
    ({"class_order": "random"}, "class_order='random'"),
    ({"data_seed": -1}, "data_seed is -1"),
    ({"train_examples_per_task": -1}, "train_examples_per_task is -1"),
    ({"test_examples_per_task": 0}, "test_examples_per_task is 0"),
    ({"test_examples_per_task": 11}, "test_examples_per_task is 11, but task 0 has 10"),
  ],
)
def test_bad_arguments(fake_load, options, words):
  options = {"name": "split_digits", **options}
  with pytest.raises(ValueError, match=words) as caught:
    load_benchmark(**options)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["split_digits", "permuted_digits"])
def test_labels_outside_the_data_sets_classes(monkeypatch, name):
  broken = make_dataset()
  broken.test.label[3] = 10
  monkeypatch.setattr(datasets, "load", lambda name, **options: broken)
  with pytest.raises(ValueError, match=r"digits, test examples: label 10 .* 10 classes, 0 to 9"):
    load_benchmark(name)


def test_the_real_digits():
  stream = load_benchmark("split_digits", validation_fraction=0.1)
  assert stream.max_value == 16
  assert stream.spec.image_shape[:2] == (8, 8)
  train, validation, test = np.sum(stream.sizes, axis=0)
  assert train + validation + test == 1797
  for experience in stream:
    assert experience.train.image.dtype == np.uint8
    assert experience.train.image.max() <= 16
    assert set(experience.train.label) == {2 * experience.task_id, 2 * experience.task_id + 1}
