"""Streams as sequences: made when asked for, checked when built."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import heads, holdout, stream
from tagjax.core import types


def make_stream(transform=None, outputs=((0, 1), (0, 1)), scenario="domain"):
  outputs = np.array(outputs, np.int32)
  image = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
  pool = datasets.Examples(image, np.array([0, 1, 0, 1, 0, 1]))
  rows = holdout.Rows(np.array([0, 1, 2]), np.array([5]), np.array([3, 4]))
  plans = [
    stream.TaskPlan(f"t{t}", pool, pool, rows, table, transform) for t, table in enumerate(outputs)
  ]
  return stream.Stream("small", heads.make_spec(outputs, scenario, (2, 2)), plans, 16)


def test_parts_have_the_stated_shapes_and_dtypes():
  experience = make_stream()[1]
  assert (experience.task_id, experience.name) == (1, "t1")
  parts = (experience.train, experience.validation, experience.test)
  assert [len(part) for part in parts] == [3, 1, 2]
  for part, rows in zip(parts, ([0, 1, 2], [5], [3, 4]), strict=True):
    assert part.image.dtype == np.uint8
    assert part.image.shape == (len(part), 2, 2)
    assert (part.label.dtype, part.task_id.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(part.image[:, 0, 0], 4 * np.array(rows))
    np.testing.assert_array_equal(part.label, np.array(rows) % 2)
    np.testing.assert_array_equal(part.task_id, 1)


def test_a_part_without_rows_keeps_its_shape():
  small = make_stream()
  plan = small._plans[0]
  plan = plan._replace(rows=plan.rows._replace(validation=np.arange(0)))
  validation = stream.Experience(0, plan).validation
  assert len(validation) == 0
  assert validation.image.shape == (0, 2, 2)
  assert validation.label.shape == validation.task_id.shape == (0,)


def test_is_a_sequence():
  small = make_stream()
  assert len(small) == 2
  assert [experience.task_id for experience in small] == [0, 1]
  assert small[-1].task_id == 1
  assert small[np.int64(1)].task_id == 1
  for outside in (2, -3):
    with pytest.raises(IndexError, match="tasks 0 to 1"):
      small[outside]
  with pytest.raises(TypeError):
    small["t0"]
  assert small.sizes == [(3, 1, 2)] * 2
  assert small.task_names == ["t0", "t1"]
  assert small.max_value == 16
  assert "2 tasks" in repr(small)
  assert "3, 1, 2" in repr(small[0])


def test_images_are_made_when_looked_at_and_kept_by_the_experience_only():
  made = []

  def transform(image):
    made.append(len(image))
    return image

  small = make_stream(transform)
  experience = small[0]
  assert made == []
  assert experience.test is experience.test
  assert made == [2]
  assert small[0].test is not experience.test
  assert made == [2, 2]


def test_experiences_own_their_images():
  small = make_stream()
  small[0].train.image[:] = 99
  assert small[0].train.image[0, 0, 0] == 0


def test_images_mapped_from_a_file(tmp_path):
  np.save(tmp_path / "image.npy", np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
  small = make_stream()
  pool = small._plans[0].train._replace(image=np.load(tmp_path / "image.npy", mmap_mode="r"))
  mapped = stream.Stream("m", small.spec, [p._replace(train=pool) for p in small._plans])
  image = mapped[0].train.image
  assert type(image) is np.ndarray
  np.testing.assert_array_equal(image, small[0].train.image)


def test_labels_outside_the_head_are_named():
  with pytest.raises(ValueError, match=r"small, task 1 \(t1\) has the training label 1, .* its 1"):
    make_stream(outputs=((0, 1), (0, -1)), scenario="task")
  small = make_stream()
  narrow = small.spec._replace(classes=np.array([[True, True], [True, False]]))
  with pytest.raises(ValueError, match=r"task 1 .* the training label 1"):
    stream.Stream("narrow", narrow, small._plans)
  few = [plan._replace(outputs=np.array([0], np.int32)) for plan in small._plans]
  with pytest.raises(ValueError, match=r"task 0 .* the training label 1"):
    stream.Stream("few", small.spec, few)


@pytest.mark.parametrize(("part", "word"), [("train", "training"), ("test", "test")])
def test_an_empty_task_is_named(part, word):
  small = make_stream()
  plan = small._plans[1]
  empty = plan._replace(rows=plan.rows._replace(**{part: np.arange(0)}))
  with pytest.raises(ValueError, match=rf"task 1 \(t1\) has no {word} examples"):
    stream.Stream("small", small.spec, [small._plans[0], empty])


def test_plans_and_spec_must_agree():
  small = make_stream()
  with pytest.raises(ValueError, match="1 tasks, but the spec has 2"):
    stream.Stream("small", small.spec, small._plans[:1])


def test_spec_is_the_one_of_base():
  assert isinstance(make_stream().spec, types.StreamSpec)


def test_a_part_of_the_tasks_is_a_stream_with_the_same_head():
  whole = make_stream(outputs=((0, 1), (2, 3), (4, 5)), scenario="task")
  part = whole.part(1)
  assert part.task_names == ["t1", "t2"]
  assert [experience.task_id for experience in part] == [0, 1]
  assert (part.spec.num_tasks, part.spec.num_outputs) == (2, 6)
  np.testing.assert_array_equal(part.spec.classes, whole.spec.classes[1:])
  np.testing.assert_array_equal(part[0].train.label, whole[1].train.label)
  np.testing.assert_array_equal(part[0].train.task_id, 0)
  assert whole.part(0, 2).task_names == ["t0", "t1"]
  assert len(whole.part(0)) == 3
  for first, end in ((3, None), (-1, None), (1, 1), (0, 4)):
    with pytest.raises(ValueError, match=f"first_task={first}, end_task={end}"):
      whole.part(first, end)


def test_tasks_in_another_order_come_again_with_their_head():
  whole = make_stream(outputs=((0, 1), (2, 3), (4, 5)), scenario="task")
  stream = whole.in_order("2, 0-1, 2")
  assert stream.task_names == ["t2", "t0", "t1", "t2, visit 2"]
  assert stream.task_order == (2, 0, 1, 2)
  assert (stream.spec.num_tasks, stream.spec.num_outputs) == (4, 6)
  np.testing.assert_array_equal(stream.spec.classes, whole.spec.classes[[2, 0, 1, 2]])
  for place, task in enumerate((2, 0, 1, 2)):
    for part in ("train", "validation", "test"):
      mine, theirs = getattr(stream[place], part), getattr(whole[task], part)
      np.testing.assert_array_equal(mine.image, theirs.image)
      np.testing.assert_array_equal(mine.label, theirs.label)
      np.testing.assert_array_equal(mine.task_id, place)
  assert stream[3].name == "t2, visit 2"
  last = stream.part(2)
  assert last.task_order == (1, 2)
  assert last.task_names == ["t1", "t2"], "its first visit has been left out"
  for wrong in ((0, 3), (-1,), "3", ()):
    with pytest.raises(ValueError, match=r"^task_order is "):
      whole.in_order(wrong)


def test_an_order_of_an_order_counts_places():
  whole = make_stream(outputs=((0, 1), (2, 3), (4, 5)), scenario="task")
  stream = whole.in_order((2, 0)).in_order((1, 1))
  assert stream.task_order == (0, 0)
  np.testing.assert_array_equal(stream[1].train.label, whole[0].train.label)


def with_plans(small, **fields):
  return stream.Stream("more", small.spec, [plan._replace(**fields) for plan in small._plans])


@pytest.mark.parametrize("fraction", [0.0, 0.34])
def test_some_training_examples_are_those_of_all(fraction):
  small = make_stream(outputs=((0, 1), (2, 3), (4, 5)), scenario="task").blurred(fraction)
  for experience in small:
    rows = np.array([2, 0])
    seen = []
    some = experience.some_of_train(lambda label: seen.append(label) or rows)  # noqa: B023
    np.testing.assert_array_equal(seen[0], experience.train.label)
    for name in ("image", "label", "task_id"):
      whole = getattr(experience.train, name)
      np.testing.assert_array_equal(getattr(some, name)[np.arange(2)], whole[rows])


def test_names_of_classes_belong_to_outputs():
  small = make_stream(outputs=((1, 0), (2, 3)), scenario="task")
  assert small.class_names == [{0: "1", 1: "0"}, {2: "0", 3: "1"}]
  named = with_plans(small, class_names=("cat", "dog"))
  assert named.class_names == [{0: "dog", 1: "cat"}, {2: "cat", 3: "dog"}]


def test_attributes_are_those_of_the_outputs_classes():
  table = np.array([[1.0, 2.0], [3.0, 4.0]])
  small = make_stream(outputs=((1, 0), (2, 3)), scenario="task")
  assert small.spec.attributes is None
  known = with_plans(small, attributes=table)
  np.testing.assert_array_equal(known.spec.attributes, table[[1, 0, 0, 1]])
  assert known.spec.attributes.dtype == np.float32
  rest = known.part(1).spec.attributes
  np.testing.assert_array_equal(rest, [[0, 0], [0, 0], *table])
  shared = with_plans(make_stream(), attributes=table)
  np.testing.assert_array_equal(shared.spec.attributes, table)
  # One output for two classes that differ: nothing can be said of it.
  swapped = with_plans(make_stream(outputs=((0, 1), (1, 0))), attributes=table)
  assert swapped.spec.attributes is None


def test_labels_that_are_taught_may_be_wrong_ones():
  small = make_stream()
  noisy = with_plans(small, noisy_label=np.array([1, 1, 1]))
  assert noisy[0].train.label.tolist() == [1, 1, 1]
  assert noisy[0].validation.label.tolist() == small[0].validation.label.tolist()
  with pytest.raises(ValueError, match=r"the training label 2"):
    with_plans(small, noisy_label=np.array([1, 2, 1]))
