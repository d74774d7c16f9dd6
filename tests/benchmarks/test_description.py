"""A stream in words: the figures of its tasks, without reading an image."""

import numpy as np
import pytest

from tagjax import datasets
from tagjax.benchmarks import description, load_benchmark, stream

from .conftest import make_dataset


class Unreadable:
  """Images that must not be read."""

  shape, dtype = (120, 4, 4, 1), np.dtype(np.uint8)

  def __len__(self):
    return 120

  def __getitem__(self, rows):
    raise AssertionError("read")


def table(text):
  """The cells of each task, with those of the last line under "all"."""
  lines = text.split("\n\n")[1].splitlines()
  return {line.split()[0]: line.split() for line in lines}


def test_figures_are_those_of_the_stream(fake_load):
  made = load_benchmark(
    "split_digits", classes_per_task=(5, 2), num_tasks=3, validation_fraction=0.1, scenario="class"
  )
  rows = table(made.describe())
  assert rows["0"] == ["0", "classes", "0-4", "5", "0-4", "54", "6", "25"]
  assert rows["2"] == ["2", "classes", "7-8", "2", "7-8", "22", "2", "10"]
  assert rows["all"] == ["all", "9", "98", "10", "45"]


def test_images_are_not_read(monkeypatch):
  whole = make_dataset()
  unread = whole._replace(train=whole.train._replace(image=Unreadable()))
  monkeypatch.setattr(datasets, "load", lambda name, **options: unread)
  text = load_benchmark("split_digits", blurry_fraction=0.2, label_noise=0.1).describe()
  assert "images 4 x 4 x 1 of 0 to 255" in text


def test_what_was_asked_for_is_told(fake_load):
  text = load_benchmark(
    "split_awa2", num_tasks=4, blurry_fraction=0.25, train_fraction=0.5, data_dir="x", data_seed=0
  ).describe()
  assert "split_awa2: 4 tasks, task-incremental" in text
  assert "head of 200 outputs" in text
  assert "asked for: num_tasks=4, blurry_fraction=0.25, train_fraction=0.5\n" in text
  assert "3 attributes of each class" in text
  assert "asked for" not in load_benchmark("split_awa2", validation_fraction=0).describe()


def test_settings_stay_with_parts_and_orders(fake_load):
  made = load_benchmark("split_digits", label_noise=0.1)
  for derived in (made.part(1), made.in_order("3, 1")):
    assert derived.settings == {"label_noise": 0.1}


def test_outputs_with_gaps_and_long_names():
  image, label = np.zeros((4, 2, 2), np.uint8), np.array([1, 4, 1, 4])
  made = stream.Stream.from_arrays("mine", [(image, label) * 2], task_names=["n" * 99])
  row = table(made.describe())["0"]
  assert row[2:5] == ["2", "of", "1-4"]
  assert len(row[1]) == description._LONGEST_NAME
  assert row[1].endswith("…")


@pytest.mark.parametrize(
  ("numbers", "text"), [([3], "3"), ([3, 4, 5], "3-5"), ([3, 5], "of 3-5"), ([0, 1], "0-1")]
)
def test_ranges(numbers, text):
  assert description._ranges(numbers) == text
