"""Sources of examples from plain arguments; what they give is tested where they are used."""

import jax
import numpy as np
import pytest

from tagjax.benchmarks import TaskExamples
from tagjax.input_pipeline import data_source, order
from tagjax.input_pipeline.data_source import evaluation_source, training_source

SIZES = (7, 10)
KEY = jax.random.key(1)


def examples_of(task, dtype=np.uint8):
  rows = np.arange(SIZES[task])
  return TaskExamples((10 * task + rows)[:, None].repeat(6, axis=1).astype(dtype), rows, task)


def training(streamed, chunk_steps=2, dtype=np.uint8):
  return training_source(
    lambda task: examples_of(task, dtype),
    capacity=10,
    batch_size=4,
    chunk_steps=chunk_steps,
    streamed=streamed,
  )


@pytest.mark.parametrize(("dtype", "steps"), [(np.uint8, 10), (np.float32, 2), (np.float64, 1)])
def test_windows_are_measured_in_bytes(monkeypatch, dtype, steps):
  monkeypatch.setattr(data_source, "WINDOW_BYTES", 10 * 4 * 6)
  assert training(True, chunk_steps=50, dtype=dtype).chunk_steps == steps
  assert training(False, chunk_steps=50, dtype=dtype).chunk_steps == 50


@pytest.mark.parametrize(("asked", "rows"), [(0, 8), (5, 8), (9, 12), (None, 12)])
def test_rows_on_the_device(asked, rows):
  assert training(True).rows(asked) == rows
  assert training(False).rows(asked) == 10


def test_streamed_windows_hold_the_batches_of_the_order():
  source = training(True)
  expected = np.asarray(order.epoch_order(KEY, 5, 7, capacity=10, batch_size=4))
  window, start, stop = source.chunk(0, 5, 1, 2, key=KEY)
  assert (start, stop) == (0, 1)
  assert window.size == 3
  np.testing.assert_array_equal(window.label[:3], expected[1][:3])
  again, *_ = source.chunk(0, 5, 0, 2, key=KEY)  # goes back
  np.testing.assert_array_equal(again.label[:7], expected.ravel()[:7])
  other, *_ = source.chunk(0, 5, 0, 2, key=jax.random.key(2))
  assert (other.label[:7] != again.label[:7]).any()
  end = source.boundary(0, 9, key=KEY, num_examples=None)
  expected = np.asarray(order.boundary_order(KEY, 9, 7, capacity=10, batch_size=4))
  np.testing.assert_array_equal(end.label[:7], expected.ravel()[:7])


def test_a_whole_task_stays_until_the_next_one():
  source = training(False)
  first, start, stop = source.chunk(0, 0, 1, 2, key=KEY)
  assert (start, stop, first.image.shape) == (1, 2, (10, 6))
  assert source.boundary(0, 3, key=KEY, num_examples=2) is first
  assert source.chunk(1, 0, 0, 1, key=KEY)[0].size == 10
  assert source.chunk(0, 0, 0, 1, key=KEY)[0] is not first


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("lengths", "size"), [((1,), 4), ((1, 3), 3)])
def test_evaluation_shows_every_example_in_order(streamed, lengths, size):
  source = evaluation_source(
    examples_of, num_tasks=2, capacity=10, eval_batch_size=4, streamed=streamed, lengths=lengths
  )
  assert source.pass_size == size
  assert source.rows == (12 if streamed else 20)
  assert source.in_order == (streamed and size == 3)
  for task in range(2):
    windows = list(source.windows(task, key=KEY, step=5))
    assert all(window.image.shape[0] == (12 if streamed else 10) for window in windows)
    shown = np.concatenate([window.label[: int(window.size)] for window in windows])
    expected = np.arange(SIZES[task])
    if source.in_order:
      expected = order.evaluation_order(KEY, 5, SIZES[task], capacity=10, batch_size=3)
      expected = expected.ravel()[: SIZES[task]]
      assert (expected != np.arange(SIZES[task])).any()
    np.testing.assert_array_equal(shown, expected)
  if not streamed:
    assert source.windows(0)[0] is source.windows(0)[0]
