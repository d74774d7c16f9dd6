"""The feed gives the batches of an order, from anywhere, however many threads read them."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from tagjax.datasets import read_ahead
from tagjax.input_pipeline.prefetch import Feed

SIZE, BATCH = 22, 4
ORDER = np.concatenate([np.random.default_rng(0).permutation(SIZE), [99, 99]]).reshape(-1, BATCH)


class SlowAtFirst:
  """Images of which the earlier ones take longer to read."""

  def __init__(self, image):
    self.image, self.asked = image, []
    self.shape, self.dtype = image.shape, image.dtype

  def __getitem__(self, rows):
    self.asked.append(rows)
    time.sleep(0.02 / len(self.asked))
    return self.image[rows]


@pytest.fixture
def examples():
  rng = np.random.default_rng(1)
  image = rng.integers(0, 256, (SIZE, 3, 3), np.uint8)
  label = rng.integers(0, 5, SIZE).astype(np.int32)

  class Examples(SimpleNamespace):
    def __len__(self):
      return SIZE

  return Examples(image=SlowAtFirst(image), label=label, task_id=np.full(SIZE, 3, np.int32))


@pytest.fixture
def pieces_of_three(monkeypatch):
  monkeypatch.setattr(read_ahead, "PIECE_IMAGES", 3)


@pytest.mark.usefixtures("pieces_of_three")
@pytest.mark.parametrize("start", [0, 1, 4])
@pytest.mark.parametrize("ahead", [1, 5])
def test_windows_follow_the_order_from_any_batch_on(examples, start, ahead):
  reader = Feed(examples, ORDER, start, ahead=ahead)
  while reader.position < len(ORDER):
    first = reader.position
    window = reader.window(min(first + 2, len(ORDER)), capacity=2 * BATCH)
    rows = ORDER[first : first + 2].ravel()
    rows = rows[rows < SIZE]
    assert int(window.size) == len(rows)
    assert window.image.shape == (2 * BATCH, 3, 3)
    np.testing.assert_array_equal(window.image[: len(rows)], examples.image.image[rows])
    np.testing.assert_array_equal(window.label[: len(rows)], examples.label[rows])
    np.testing.assert_array_equal(window.task_id[: len(rows)], 3)
    np.testing.assert_array_equal(window.index[: len(rows)], rows)
    for padded in (window.image, window.label, window.task_id, window.index):
      assert not padded[len(rows) :].any()


@pytest.mark.usefixtures("pieces_of_three")
def test_reads_ahead_and_not_everything(examples):
  reader = Feed(examples, ORDER, ahead=2)
  reader.window(1, capacity=BATCH)
  time.sleep(0.1)
  # Two pieces for the batch that was asked for, and three that hold two batches.
  assert len(examples.image.asked) == 5
  assert max(map(len, examples.image.asked)) == 3


def test_what_cannot_be_read_is_an_error_of_the_window(examples):
  examples.label = examples.label[:3]
  reader = Feed(examples, ORDER)
  with pytest.raises(IndexError):
    reader.window(len(ORDER), capacity=len(ORDER) * BATCH)
