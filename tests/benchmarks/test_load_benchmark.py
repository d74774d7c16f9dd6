"""`load_benchmark`: the table of benchmarks, its defaults and its errors."""

import hashlib

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
  "split_glyphs": ("glyphs", 15, 60, "task"),
  "permuted_mnist": ("mnist", 20, 10, "domain"),
  "permuted_fashion_mnist": ("fashion_mnist", 20, 10, "domain"),
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


# SHA-256 of all arrays with the defaults and with `VARIED`, taken when streams had no further
# options: published results must not move.
DIGESTS = {
  "permuted_digits": ("9759e2669a824a19", "9b2d548f64709948"),
  "rotated_digits": ("cd844556be33ddbd", "e856e232bdc1ff93"),
  "split_digits": ("cac282f76d8765cf", "63c3fe450e4c2396"),
  "permuted_mnist": ("dc5660380a91846f", "9b2d548f64709948"),
  "rotated_mnist": ("aceaf16cc68af569", "e856e232bdc1ff93"),
  "split_cifar100": ("7cc28c918121de3e", "ce567a4104136d24"),
}
VARIED = {
  "num_tasks": 5,
  "validation_fraction": 0.2,
  "train_examples_per_task": 20,
  "test_examples_per_task": 7,
  "data_seed": 3,
  "scenario": "class",
}


def digest(stream):
  sha = hashlib.sha256()
  for experience in stream:
    parts = [experience.train, experience.validation, experience.test]
    for part in parts:
      for array in (part.image, part.label, part.task_id):
        sha.update(np.ascontiguousarray(array).tobytes())
  sha.update(stream.spec.classes.tobytes())
  sha.update(repr(stream.task_names).encode())
  return sha.hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_streams_are_to_the_bit_what_they_have_been(fake_load, name):
  varied = VARIED | ({"class_order": "seeded"} if name.startswith("split") else {})
  assert digest(load_benchmark(name)) == DIGESTS[name][0]
  assert digest(load_benchmark(name, **varied)) == DIGESTS[name][1]


def test_orders_blur_noise_and_few_shots_together(fake_load):
  stream = load_benchmark(
    "split_cifar100",
    num_tasks=10,
    class_order="lasem",
    task_order="0-4, 0-9",
    train_fraction=0.5,
    validation_fraction=0.2,
    label_noise=0.25,
    blurry_fraction=0.1,
  )
  assert len(stream) == 15
  assert stream.sizes == [(48, 12, 50)] * 15
  np.testing.assert_array_equal(stream.spec.classes[:5], stream.spec.classes[5:10])
  for place, experience in enumerate(stream):
    assert (stream.spec.classes[experience.train.task_id, experience.train.label]).all()
    assert (experience.train.task_id != place).sum() == 5
    assert (experience.validation.task_id == place).all()


def test_subsets_and_sizes_reach_the_streams(fake_load):
  stream = load_benchmark("split_cifar100", classes="15-99", num_tasks=17, class_order="seeded")
  assert stream.spec.classes.shape == (17, 85)
  assert len(load_benchmark("split_imagenet", classes=1000)) == 10
  assert load_benchmark("split_imagenet", classes=1000).spec.num_outputs == 1000
  assert len(load_benchmark("split_tiny_imagenet", num_tasks=10)) == 10
  assert len(load_benchmark("split_cifar100", classes_per_task=(50, 5), num_tasks=11)) == 11
  assert len(load_benchmark("split_cifar100", classes_per_task=(50, 5))) == 2
  awa2 = load_benchmark("split_awa2", classes="15-49", num_tasks=17, classes_per_task=4)
  np.testing.assert_array_equal(awa2.spec.classes.sum(axis=1), 4)
  assert awa2.spec.attributes.shape == (17 * 50, 3)
  assert len(load_benchmark("split_awa2", classes_per_task=3)) == 20
  assert load_benchmark("split_cub").spec.attributes.shape == (200, 7)


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
    ({"train_fraction": 0}, "train_fraction is 0, must be a fraction in .0, 1."),
    ({"blurry_fraction": 1.0}, "blurry_fraction is 1.0"),
    ({"label_noise": "much"}, "label_noise is 'much'"),
    ({"task_order": "0-5"}, "task_order is '0-5', but the tasks are 0 to 4"),
    ({"task_order": "first"}, "task_order is 'first', must be"),
    ({"classes": 2.5}, "classes is 2.5, must be"),
    ({"classes_per_task": -1}, "classes_per_task is -1"),
    ({"image_size": 32}, "image_size is 32, but split_digits has no use for it: leave it None"),
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
