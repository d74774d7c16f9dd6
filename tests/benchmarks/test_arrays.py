"""Streams of one's own arrays."""

import numpy as np
import pytest

from tagjax.benchmarks import Stream


def task(labels=(0, 1, 0, 1), test_labels=None, shape=(2, 2), dtype=np.uint8):
  test_labels = labels if test_labels is None else test_labels
  return (
    np.ones((len(labels), *shape), dtype),
    np.array(labels, np.int64),
    np.ones((len(test_labels), *shape), dtype),
    np.array(test_labels, np.int64),
  )


def wide():
  """A task with an integer that 32 bits do not hold."""
  image, *rest = task(dtype=np.int64)
  image[0, 0, 0], image[1, 0, 0] = 2**40, 0
  return image, *rest


def test_classes_follow_from_the_labels():
  stream = Stream.from_arrays("mine", [task((0, 1)), task((3, 2))], scenario="class")
  assert stream.spec.num_outputs == 4
  np.testing.assert_array_equal(stream.spec.classes, [[1, 1, 0, 0], [0, 0, 1, 1]])
  np.testing.assert_array_equal(stream[1].train.label, [3, 2])
  assert stream.spec.image_shape == (2, 2)
  assert stream.task_names == ["task 0", "task 1"]
  assert stream.max_value == 255


def test_domain_shares_all_outputs():
  stream = Stream.from_arrays("mine", [task((0, 1)), task((2, 2))], scenario="domain")
  assert stream.spec.classes.all()
  assert stream.spec.classes.shape == (2, 3)


def test_options_are_used():
  stream = Stream.from_arrays(
    "mine",
    [task((0, 1)), task((2, 2), (2, 3))],
    num_outputs=5,
    classes=[[True, True, False, False, False], [False, False, True, True, False]],
    task_names=["a", "b"],
    max_value=16,
  )
  assert (stream.spec.num_outputs, stream.max_value, stream[1].name) == (5, 16, "b")
  assert stream.spec.scenario == "task"


def test_floating_images_are_left_alone():
  stream = Stream.from_arrays("mine", [task(dtype=np.float32)])
  assert stream.max_value == 1
  assert stream[0].train.image.dtype == np.float32


@pytest.mark.parametrize(
  ("shape", "dtype", "stored"),
  [
    ((2, 2), np.uint8, np.uint8),
    ((5,), np.float32, np.float32),
    ((5,), np.float64, np.float32),
    ((3, 2, 1), np.float16, np.float16),
    ((7,), np.int64, np.int32),
    ((7,), np.int16, np.int16),
  ],
)
def test_any_shape_and_dtype(shape, dtype, stored):
  stream = Stream.from_arrays("mine", [task(shape=shape, dtype=dtype)])
  assert (stream.spec.image_shape, stream.spec.image_dtype) == (shape, stored)
  assert stream[0].train.image.dtype == dtype


def test_attributes_of_the_classes():
  table = np.arange(8).reshape(4, 2)
  tasks = [task((0, 1)), task((3, 2))]
  stream = Stream.from_arrays("mine", tasks, attributes=table)
  np.testing.assert_array_equal(stream.spec.attributes, table)
  assert stream.spec.attributes.dtype == np.float32
  np.testing.assert_array_equal(stream.part(1).spec.attributes, table)
  assert Stream.from_arrays("mine", tasks).spec.attributes is None


def test_validation_is_held_out():
  image = np.arange(20, dtype=np.uint8).reshape(20, 1)
  label = np.zeros(20, np.int64)
  tasks = [(image, label, image, label)] * 2
  stream = Stream.from_arrays("mine", tasks, validation_fraction=0.25, data_seed=4)
  assert stream.sizes == [(15, 5, 20)] * 2
  parts = np.concatenate([stream[0].train.image, stream[0].validation.image])
  np.testing.assert_array_equal(np.sort(parts[:, 0]), np.arange(20))
  other = Stream.from_arrays("mine", tasks, validation_fraction=0.25, data_seed=5)
  assert not np.array_equal(other[0].validation.image, stream[0].validation.image)


def filled(value):
  image, *others = task(dtype=np.float32)
  return (np.full(image.shape, value, np.float32), *others)


def test_floats_that_say_what_they_are_pass():
  for value, options in ((200.0, {"max_value": 255}), (200.5, {}), (1.0, {}), (-3.0, {})):
    assert Stream.from_arrays("mine", [filled(value)], **options).max_value in (1, 255)


def test_of_large_files_some_images_are_looked_at(monkeypatch):
  monkeypatch.setattr("tagjax.benchmarks.arrays._FEW_BYTES", 10)
  with pytest.raises(ValueError, match="hold NaN"):
    Stream.from_arrays("mine", [filled(np.nan)])
  assert len(Stream.from_arrays("mine", [task(dtype=np.float32)])) == 1


@pytest.mark.parametrize(
  ("tasks", "options", "words"),
  [
    ([], {}, "tasks is empty"),
    ([task()[:3]], {}, "task 0 has 3 arrays"),
    ([task()], {"scenario": "tasks"}, "scenario='tasks' is unknown .did you mean task"),
    ([task(), task(())], {}, "task 1, training examples: there are none"),
    ([task((0,), ())], {}, "task 0, test examples: there are none"),
    ([task((0, -1))], {}, "task 0, training examples: label -1"),
    ([task((0, 3))], {"num_outputs": 3}, "task 0 .* the training label 3"),
    ([task((0, 1), (0, 2))], {}, "task 0 .* the test label 2"),
    ([task()], {"num_outputs": 0}, "num_outputs is 0"),
    ([task()], {"classes": [[True]]}, r"classes is bool \(1, 1\), must be bool \(1, 2\)"),
    ([task()], {"classes": [[1, 1]]}, "classes is int64"),
    ([task()], {"task_names": ["a", "b"]}, "2 names for 1 tasks"),
    ([task()], {"max_value": 0}, "max_value is 0"),
    ([task(), task(shape=(3, 3))], {}, r"task 1, training images are uint8 \(3, 3\)"),
    ([task(), task(dtype=np.float32)], {}, "task 1, training images are float32"),
    ([task(dtype=bool)], {}, "images are bool, must be integers or floating"),
    ([task(dtype=np.complex64)], {}, "images are complex64"),
    ([wide()], {}, r"task 0, training images hold integers from 0 to 1099511627776"),
    ([task()], {"attributes": np.ones((3, 2))}, r"attributes are float64 \(3, 2\).*num_outputs=2"),
    ([task()], {"attributes": [1, 2]}, "attributes are int64"),
    ([task()], {"attributes": [[1, 2], [np.nan, 1]]}, "attributes of output 1 hold NaN or"),
    ([task()], {"attributes": [[1e39], [1]]}, "attributes of output 0 hold NaN or infinity"),
    ([task()], {"attributes": [["a"], ["b"]]}, "attributes are <U1"),
    ([(*task()[:1], *task((0,))[1:])], {}, "4 images, but 1 labels"),
    ([(task()[0], np.zeros(4), *task()[2:])], {}, "labels are float64"),
    ([task()], {"validation_fraction": 1}, "validation_fraction is 1"),
    ([task()], {"data_seed": -1}, "data_seed is -1"),
    ([task()], {"max_value": np.inf}, "max_value is inf, must be positive and finite"),
    ([None], {}, "task 0 has no arrays, but is None"),
    ([task(), 3], {}, "task 1 has no arrays, but is 3"),
    ([(None, *task()[1:])], {}, r"task 0, training examples: images \(\) and labels \(4,\)"),
    ([(np.zeros(4, np.uint8), *task()[1:])], {}, r"images \(4,\) and labels \(4,\), must be"),
    ([(np.ma.masked_less(task()[0], 1), *task()[1:])], {}, "training examples are masked arrays"),
    ([(*task()[:3], np.ma.array(task()[3]))], {}, "test examples are masked arrays"),
    ([filled(np.nan)], {}, "training images hold NaN or infinity"),
    ([task(dtype=np.float32), filled(-np.inf)], {}, "task 1, training images hold NaN or infinity"),
    ([filled(200.0)], {}, "whole numbers up to 200: give max_value=255 if they are pixels"),
  ],
)
def test_bad_arguments(tasks, options, words):
  with pytest.raises(ValueError, match=words) as caught:
    Stream.from_arrays("mine", tasks, **options)
  assert "\n" not in str(caught.value)
