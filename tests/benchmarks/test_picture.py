"""A stream as a picture: rows of its images, by class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tagjax.benchmarks import Stream, load_benchmark, picture


def size_of(path):
  with Image.open(path) as image:
    assert image.format == "PNG"
    return image.size


@pytest.mark.parametrize("name", ["split_digits", "stl10_lifelong", "split_omniglot"])
def test_a_row_for_each_task(fake_load, tmp_path, name):
  heights = []
  for num_tasks in (1, 2):
    load_benchmark(name, num_tasks=num_tasks).plot(tmp_path / "p.png", images_per_task=3)
    heights.append(size_of(tmp_path / "p.png")[1])
  assert heights[1] > 1.5 * heights[0]


def test_the_images_are_in_the_picture(tmp_path):
  colours = np.array([[255, 0, 0], [0, 120, 0], [51, 0, 204]], np.uint8)
  image = np.broadcast_to(colours[:, np.newaxis, np.newaxis], (3, 4, 4, 3))
  task = (image, np.arange(3)) * 2
  stream = Stream.from_arrays("mine", [task], scenario="domain")
  stream.plot(tmp_path / "p.png", images_per_task=4)
  pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
  counts = [(pixels == colour).all(axis=1).sum() for colour in colours]
  assert min(counts) > 1000
  assert max(counts) < 1.1 * min(counts)


def test_blurry_streams_and_floating_images(fake_load, tmp_path):
  load_benchmark("split_digits", num_tasks=2, blurry_fraction=0.5).plot(tmp_path / "p.png", 2)
  image = np.linspace(0, 1, 4 * 9).reshape(4, 3, 3)
  stream = Stream.from_arrays("mine", [(image, np.array([0, 1, 0, 1])) * 2])
  stream.plot(tmp_path / "p.png", 2)
  assert size_of(tmp_path / "p.png")[0] > 100


def test_what_cannot_be_drawn(tmp_path):
  image, label = np.zeros((2, 8), np.uint8), np.array([0, 1])
  stream = Stream.from_arrays("mine", [(image, label) * 2])
  with pytest.raises(ValueError, match=r"images of shape \(8,\) cannot be drawn"):
    stream.plot(tmp_path / "p.png")
  image = np.zeros((2, 8, 8), np.uint8)
  with pytest.raises(ValueError, match="images_per_task is 0"):
    Stream.from_arrays("mine", [(image, label) * 2]).plot(tmp_path / "p.png", 0)


@given(label=st.lists(st.integers(0, 6), min_size=1, max_size=40), count=st.integers(1, 12))
def test_classes_are_shown_equally_often(label, count):
  label = np.array(label)
  chosen = picture.spread(label, count)
  assert len(set(chosen)) == len(chosen) == min(count, len(label))
  shown = np.bincount(label[chosen], minlength=7)
  available = np.bincount(label, minlength=7)
  assert (shown > 0).sum() == min(count, (available > 0).sum())
  spare = shown[(shown < available) & (shown > 0)]
  if spare.size:
    assert spare.min() >= shown.max() - 1
