"""A data set a task: outputs numbered through, images of one size, attributes where known."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import fit, lazy, load_benchmark, several
from tagjax.datasets import loader

from .conftest import make_dataset, row_numbers


def make(parts, **options):
  return several.make_several(parts, name="many", num_tasks=len(parts), image_size=5, **options)


@pytest.fixture
def parts():
  return [
    make_dataset(num_classes=4, shape=(5, 5, 3), name="first"),
    make_dataset(num_classes=2, shape=(8, 8, 1), name="second", class_names=("cat", "dog")),
    make_dataset(num_classes=3, shape=(4, 6, 3), name="third"),
  ]


def test_five_datasets_as_tag_has_them(fake_load):
  stream = load_benchmark("five_datasets", data_dir="somewhere")
  names = ["cifar10", "mnist", "svhn_cropped", "not_mnist", "fashion_mnist"]
  assert fake_load == [(name, "somewhere") for name in names]
  assert stream.task_names == names
  assert stream.spec.image_shape == (32, 32, 3)
  np.testing.assert_array_equal(stream.spec.classes, np.kron(np.eye(5), np.ones(10)).astype(bool))
  for task, experience in enumerate(stream):
    for part in (experience.train, experience.validation, experience.test):
      assert part.image.shape[1:] == (32, 32, 3)
    assert set(experience.train.label) == set(range(10 * task, 10 * task + 10))


def test_fewer_tasks_load_fewer_data_sets(fake_load):
  stream = load_benchmark("five_datasets", num_tasks=2, image_size=16, validation_fraction=0.1)
  assert [name for name, _ in fake_load] == ["cifar10", "mnist"]
  assert stream.spec.num_outputs == 20
  assert stream[1].validation.image.shape == (12, 16, 16, 3)
  with pytest.raises(ValueError, match=r"num_tasks is 6, but five_datasets has 5 tasks"):
    load_benchmark("five_datasets", num_tasks=6)


def test_outputs_are_numbered_through(parts):
  for scenario in ("task", "class"):
    stream = make(parts, scenario=scenario)
    assert [np.flatnonzero(row).tolist() for row in stream.spec.classes] == [
      [0, 1, 2, 3],
      [4, 5],
      [6, 7, 8],
    ]
  shared = make(parts, scenario="domain")
  assert shared.spec.classes.sum(axis=1).tolist() == [4, 2, 3]
  assert shared.spec.num_outputs == 4
  assert make(parts).class_names[1] == {4: "cat", 5: "dog"}


def test_images_are_those_of_the_data_set_brought_to_the_size(parts):
  stream = make(parts)
  first = stream[0].train
  rows = row_numbers(first)
  np.testing.assert_array_equal(first.image, parts[0].train.image[rows])
  for task in (1, 2):
    fitted = fit.fit_images(parts[task].test.image, 5)
    np.testing.assert_array_equal(stream[task].test.image, fitted)


def test_large_data_sets_stay_lazy(parts):
  plain = make(parts)
  pool = parts[1].train
  images = lazy.ChosenImages(pool.image, np.arange(len(pool.label)))
  parts[1] = parts[1]._replace(train=pool._replace(image=images))
  stream = make(parts).blurred(0.3)
  assert stream.is_streamed("train")
  np.testing.assert_array_equal(stream[1].test.image[np.arange(10)], plain[1].test.image)
  mixed, expected = stream[0].train, plain.blurred(0.3)[0].train
  assert lazy.is_lazy(mixed.image)
  np.testing.assert_array_equal(mixed.image[np.arange(len(mixed))], expected.image)


def test_images_that_grow_large_become_lazy(parts, monkeypatch):
  plain = make(parts)
  monkeypatch.setattr(loader, "LARGE_BYTES", 20 * 5 * 5 * 3)
  large = make(parts)
  assert large.is_streamed("train")
  assert large.is_streamed("test")
  assert not make(parts, input="memory").is_streamed("train")
  assert not lazy.is_lazy(large[0].train.image), "its images have the size"
  for one, other in zip(plain, large, strict=True):
    for part in ("train", "test"):
      mine, theirs = getattr(other, part), getattr(one, part)
      np.testing.assert_array_equal(mine.image[np.arange(len(mine))], theirs.image)
      np.testing.assert_array_equal(mine.label, theirs.label)


def test_attributes_of_the_tasks_that_have_some(parts):
  table = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
  stream = make([parts[0], parts[1]._replace(attributes=table), parts[2]])
  expected = np.zeros((9, 3), np.float32)
  expected[4:6] = table
  np.testing.assert_array_equal(stream.spec.attributes, expected)
  assert stream.part(2).spec.attributes is None
  other = parts[2]._replace(attributes=np.ones((3, 4), np.float32))
  assert make([parts[1]._replace(attributes=table), other]).spec.attributes is None


def test_pixels_of_different_ranges(parts):
  with pytest.raises(ValueError, match=r"largest pixels of its data sets are \[16, 255\]"):
    make([parts[0], parts[1]._replace(max_value=16)])


def test_a_missing_part_of_the_object_sequence_is_named(fake_load, monkeypatch, tmp_path):
  monkeypatch.setattr(datasets, "names", lambda: ["flowers102"])
  with pytest.raises(datasets.DatasetUnavailableError) as caught:
    load_benchmark("object_sequence", num_tasks=4, data_dir=tmp_path)
  text = str(caught.value)
  assert text.startswith("no data for mit_indoor67, cub200, cars: put the images into ")
  assert f"{tmp_path}/image_folders/NAME/train/CLASS/FILE" in text
  assert "\n" not in text
  assert len(load_benchmark("object_sequence", num_tasks=1, image_size=6)) == 1
