"""The digest of examples: what it counts, and what it leaves unread of large tasks."""

import hashlib
import types

import numpy as np
import pytest

from tagjax.benchmarks import digest


def examples(number=5, dtype=np.uint8):
  image = np.arange(number * 6).reshape(number, 3, 2).astype(dtype)
  return types.SimpleNamespace(image=image, label=np.arange(number, dtype=np.int32))


class Lazy:
  """Images that are read by rows, and notes of which."""

  def __init__(self, image):
    self.shape, self.dtype, self.read = image.shape, image.dtype, []
    self._image = image

  def __getitem__(self, rows):
    self.read += list(rows)
    return self._image[rows]


def test_it_is_that_of_form_labels_and_pixels():
  one = examples()
  said = b"(5, 3, 2) uint8 int32" + one.label.tobytes() + one.image.tobytes()
  assert digest.of_examples([one]) == hashlib.sha256(said).hexdigest()[:16]
  assert digest.of_examples([one, one]) == hashlib.sha256(said * 2).hexdigest()[:16]


def changed(**values):
  one = examples()
  for name, (place, value) in values.items():
    getattr(one, name)[place] = value
  return one


@pytest.mark.parametrize(
  "parts",
  [
    [changed(image=((4, 2, 1), 0))],
    [changed(label=(0, 1))],
    [examples(4)],
    [examples(dtype=np.float32)],
    [types.SimpleNamespace(image=examples().image.reshape(5, 2, 3), label=examples().label)],
    [examples(), examples()],
    [],
  ],
)
def test_every_difference_changes_it(parts):
  assert digest.of_examples(parts) != digest.of_examples([examples()])


def test_parts_in_another_order_are_others():
  one, other = examples(4), examples(5)
  assert digest.of_examples([one, other]) != digest.of_examples([other, one])


def test_lazy_images_and_those_that_do_not_lie_in_order_are_the_same_ones():
  one = examples()
  lazy = types.SimpleNamespace(image=Lazy(one.image), label=one.label)
  turned = types.SimpleNamespace(image=np.asfortranarray(one.image), label=one.label)
  assert digest.of_examples([lazy]) == digest.of_examples([one]) == digest.of_examples([turned])
  assert lazy.image.read == [0, 1, 2, 3, 4]


def test_of_large_tasks_evenly_spaced_images_count_and_all_labels(monkeypatch):
  monkeypatch.setattr(digest, "_MOST_BYTES", 2 * 3 * 6)  # three images for each of two parts
  read = {}
  for name, change in {
    "as it is": {},
    "unread": {"image": ((1, 0, 0), 99)},
    "the last": {"image": ((4, 0, 0), 99)},
    "the label of the unread": {"label": (1, 7)},
  }.items():
    one = changed(**change)
    lazy = types.SimpleNamespace(image=Lazy(one.image), label=one.label)
    read[name] = digest.of_examples([lazy, examples()])
    assert lazy.image.read == [0, 2, 4]
  assert read["unread"] == read["as it is"]
  assert len(set(read.values())) == 3


def test_a_task_of_one_large_image_and_one_without_images(monkeypatch):
  monkeypatch.setattr(digest, "_MOST_BYTES", 1)
  assert digest.of_examples([changed(image=((0, 0, 0), 9))]) != digest.of_examples([examples()])
  assert len(digest.of_examples([examples(0)])) == 16
