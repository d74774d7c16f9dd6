"""Means over a task's single examples against NumPy in float64."""

import operator

import boundaries
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.method import Method
from tagjax.methods import per_example

STREAM = helpers.spec()


def square(batch):
  """Something that differs between the mean of examples and the example of means."""
  image = batch.image.reshape(batch.image.shape[0], -1).astype(jnp.float32) / 255
  return {"square": jnp.sum(image, axis=0) ** 2, "rows": jnp.float32(batch.label.shape[0])}


@pytest.mark.parametrize("size", [20, 23, 3])
@pytest.mark.parametrize("examples", [None, 1, 4, 9, 500])
def test_mean_over_examples(size, examples):
  chunk = per_example.first_examples(boundaries.chunk(STREAM, 0, size), examples)
  actual = jax.jit(lambda c: per_example.mean_over_examples(square, c))(chunk)
  images = boundaries.inputs(STREAM, 0, size)[0][:examples]
  np.testing.assert_allclose(actual["square"], np.mean(images**2, axis=0), rtol=1e-5)
  assert actual["rows"] == 1


@pytest.mark.parametrize("of", [jnp.square, jnp.abs])
@pytest.mark.parametrize("tokens", [1, 3])
def test_numbers_of_thin_gradients_are_those_of_plain_ones(of, tokens):
  """With several rows an example, the square of a sum is not the sum of squares."""
  chunk = boundaries.chunk(STREAM, 0, 22)
  kernel = jax.random.normal(jax.random.key(0), (16, 20))

  def gradient(batch):
    rows = batch.image.reshape(1, -1) / 255 * jnp.arange(1, tokens + 1)[:, None]
    return jax.grad(lambda kernel: jnp.sum(jnp.sin(rows @ kernel)))(kernel)

  found = per_example.mean_over_examples(gradient, chunk, of=of)
  flat = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:])[:22], chunk)
  rows = [jax.tree.map(operator.itemgetter(i), flat) for i in range(22)]
  expected = np.mean([of(gradient(row)) for row in rows], axis=0)
  assert expected.max() > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("examples", "batches", "rows"), [(None, 6, 23), (8, 2, 8), (9, 3, 9)])
def test_first_examples_leaves_no_needless_batch(examples, batches, rows):
  chunk = per_example.first_examples(boundaries.chunk(STREAM, 0), examples)
  assert chunk.mask.shape == (batches, 4)
  assert chunk.mask.sum() == rows


def test_what_padding_gives_is_ignored():
  chunk = boundaries.chunk(STREAM, 0, 22)

  def function(batch):
    return jnp.where(batch.image[0, 0, 0, 0] == 9, jnp.nan, 1.0)

  assert per_example.mean_over_examples(function, chunk) == 1.0


def test_no_valid_row_gives_zeros():
  chunk = boundaries.chunk(STREAM, 0)
  chunk = chunk._replace(mask=jnp.zeros_like(chunk.mask))
  mean = per_example.mean_over_examples(square, chunk)
  assert not mean["square"].any()


def test_sums_over_batches_are_float32():
  chunk = boundaries.chunk(STREAM, 0, 23)

  def function(batch):
    return jnp.sum(batch.mask).astype(jnp.bfloat16) / 3

  total = per_example.sum_over_batches(function, chunk)
  assert total.dtype == jnp.float32
  np.testing.assert_allclose(total, 23 / 3, rtol=1e-2)
  assert per_example.divide_by_count(jnp.float32(46), chunk) == 2.0


def test_gradients_are_in_evaluation_mode_so_rows_do_not_meet():
  """With batch statistics the result would depend on how rows are put into batches."""

  def consolidate(state, variables, *, at):
    gradient = per_example.gradient(at, variables, lambda logits, batch: jnp.sum(logits**2))
    total = per_example.sum_over_batches(lambda b: jax.tree.map(jnp.asarray, gradient(b)), at.chunk)
    return total, variables

  method = Method(lambda params: jax.tree.map(jnp.copy, params), None, consolidate)
  model = helpers.TinyModel(STREAM.num_outputs, batch_norm=True, dropout=0.5)
  results = [
    boundaries.consolidated(method, STREAM, [0], model=model, size=20, batch_size=b)[-1]
    for b in (4, 10)
  ]
  boundaries.assert_close(results[0].method, results[1].method, atol=1e-4)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(results[0].method))


@pytest.mark.parametrize("examples", [0, -1, 2.5, True])
def test_wrong_numbers_of_examples_are_refused(examples):
  with pytest.raises(ValueError, match="examples must be an integer of at least 1"):
    per_example.check_examples(examples)
