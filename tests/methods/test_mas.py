"""MAS's importances against a Jacobian in NumPy float64, and what must hold in the loop."""

import boundaries
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.memory import ring
from tagjax.methods.mas import MasState, mas

STREAM = helpers.spec()
SIZE = 23


def gradients(params, task, norm, active, rows=slice(None)):
  """What each example gives, `[n, ...]` (`[n, K, ...]` for "vector"), before absolute values."""
  x, _ = boundaries.inputs(STREAM, task, SIZE)
  _, logits, jacobian = boundaries.two_layers(params, x[rows])
  by = {"L2": 2 * logits, "L1": np.sign(logits), "vector": np.ones_like(logits)}[norm] * active
  grads = jax.tree.map(lambda j: j * by.reshape(*by.shape, *(1,) * (j.ndim - 2)), jacobian)
  return grads if norm == "vector" else jax.tree.map(lambda g: g.sum(axis=1), grads)


def omega(params, task, norm="L2", per_batch=False, rows=slice(None), batch_size=4, active=None):
  active = STREAM.classes[task] if active is None else active

  def leaf(g):
    if per_batch:
      sums = [g[i : i + batch_size].sum(axis=0) for i in range(0, len(g), batch_size)]
      total = np.sum(np.abs(sums), axis=0) / len(g)
    else:
      total = np.abs(g).mean(axis=0)
    return total.sum(axis=0) if norm == "vector" else total

  return jax.tree.map(leaf, gradients(params, task, norm, active, rows))


def states(tasks=(0, 1), **options):
  return boundaries.consolidated(mas(1.0, **options), STREAM, tasks)


def params_of(state):
  return state.variables["params"]


def add(*trees):
  return jax.tree.map(lambda *leaves: sum(leaves), *trees)


@pytest.mark.parametrize("per_batch", [False, True])
@pytest.mark.parametrize("norm", ["L2", "L1", "vector"])
def test_importance_accumulates_over_tasks(norm, per_batch):
  """23 examples in batches of 4: the last one is smaller, and counts with its true size."""
  sequence = states(norm=norm, per_batch=per_batch)
  each = [omega(params_of(state), t, norm, per_batch) for t, state in enumerate(sequence)]
  boundaries.assert_close(sequence[0].method.importance, each[0], rtol=1e-4)
  boundaries.assert_close(sequence[1].method.importance, add(*each), rtol=1e-4)
  jax.tree.map(np.testing.assert_array_equal, sequence[1].method.anchor, params_of(sequence[1]))


def test_the_head_of_a_linear_model_in_closed_form():
  """z = h V + c: the importance of V is 2 mean |h z|, of c 2 mean |z|, for the task's outputs."""
  state = states([1])[0]
  x, _ = boundaries.inputs(STREAM, 1, SIZE)
  before, logits, _ = boundaries.two_layers(params_of(state), x)
  hidden, active = np.maximum(before, 0), STREAM.classes[1]
  head = state.method.importance["Dense_1"]
  expected = 2 * np.einsum("nh,nk->hk", hidden, np.abs(logits)) / SIZE * active
  np.testing.assert_allclose(head["kernel"], expected, rtol=1e-4, atol=1e-7)
  np.testing.assert_allclose(head["bias"], 2 * np.abs(logits).mean(axis=0) * active, rtol=1e-5)
  assert (np.asarray(head["kernel"])[:, ~active] == 0).all()
  assert (np.asarray(head["bias"])[~active] == 0).all()


def test_last_forgets_earlier_tasks_and_examples_limits():
  state = states(sequence="last", examples=10)[-1]
  expected = omega(params_of(state), 1, rows=slice(10))
  boundaries.assert_close(state.method.importance, expected, rtol=1e-4)


def test_legacy_leaves_out_what_fills_no_batch_of_ten_but_counts_it():
  """23 examples: two batches of ten, whatever the run's, divided by 23; the last task alone."""
  state = states(legacy=True)[-1]
  grads = gradients(params_of(state), 1, "L2", STREAM.classes[1])
  expected = jax.tree.map(
    lambda g: (np.abs(g[:10].sum(axis=0)) + np.abs(g[10:20].sum(axis=0))) / SIZE, grads
  )
  boundaries.assert_close(state.method.importance, expected, rtol=1e-4)


@pytest.mark.parametrize("capacity", [6, 40])
def test_recompute_takes_current_parameters_and_kept_examples(capacity):
  sequence = states((0, 1, 2), sequence="recompute", capacity=capacity, spec=STREAM)
  memory = sequence[-1].method.memory
  assert memory.items.shape == (3, capacity, *STREAM.image_shape)
  assert memory.items.dtype == jnp.uint8
  np.testing.assert_array_equal(ring.counts(memory), np.full(3, min(capacity, SIZE)))
  for task in range(3):
    kept = helpers.examples(STREAM, task, SIZE).image[:capacity]
    np.testing.assert_array_equal(memory.items[task, : len(kept)], kept)
  for task, state in enumerate(sequence):
    params = params_of(state)
    past = [omega(params, s, rows=slice(capacity)) for s in range(task)]
    expected = add(omega(params, task), *past)
    boundaries.assert_close(state.method.importance, expected, rtol=1e-4)


@pytest.mark.parametrize(("normalise", "size"), [("max", np.max), ("mean", np.mean)])
def test_every_task_is_normalised_over_the_whole_network(normalise, size):
  sequence = states(normalise=normalise)
  expected = []
  for task, state in enumerate(sequence):
    raw = omega(params_of(state), task)
    whole = size(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(raw)]))
    expected.append(jax.tree.map(lambda leaf, w=whole: leaf / w, raw))
  boundaries.assert_close(sequence[1].method.importance, add(*expected), rtol=1e-4)


def test_a_dead_network_has_no_importance_and_no_nan():
  class Dead(helpers.TinyModel):
    def __call__(self, image, *, task_id, mask, train):
      return 0 * super().__call__(image, task_id=task_id, mask=mask, train=train)

  model = Dead(STREAM.num_outputs)
  method = mas(1.0, normalise="max")
  state = boundaries.consolidated(method, STREAM, [0], model=model)[0]
  assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(state.method.importance))


def test_class_incremental_counts_all_outputs_seen():
  stream = helpers.spec("class")
  state = boundaries.consolidated(mas(1.0), stream, [1])[0]
  expected = omega(params_of(state), 1, active=np.arange(6) < 4)
  boundaries.assert_close(state.method.importance, expected, rtol=1e-4)


@pytest.mark.parametrize(("clip", "length"), [(None, 80.0), (2.0, 2.0)])
def test_the_pull_is_clipped_on_request(clip, length):
  anchor = {"w": jnp.ones(16)}
  state = MasState({"w": jnp.full(16, 0.5)}, anchor, ())
  method = mas(10.0, clip=clip)
  updates, _ = method.update({"w": jnp.zeros(16)}, state, {"w": jnp.full(16, 3.0)}, at=None)
  np.testing.assert_allclose(updates["w"], np.full(16, length / 4), rtol=1e-6)


@pytest.mark.parametrize("sequence", ["accumulate", "recompute"])
def test_in_the_loop(sequence):
  boundaries.assert_regulariser_is_sound(
    lambda strength: mas(strength / 100, sequence=sequence, capacity=6, spec=STREAM), atol=1e-4
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strength": -1}, "strength must be"),
    ({"norm": "l2"}, "norm must be one of 'L2', 'L1', 'vector', got 'l2'"),
    ({"sequence": "sum"}, "sequence must be one of"),
    ({"normalise": None}, "normalise must be one of"),
    ({"examples": 0}, "examples must be"),
    ({"clip": -1}, "clip must be"),
    ({"sequence": "recompute", "spec": STREAM, "capacity": 0}, "capacity must be an integer"),
    ({"sequence": "recompute"}, 'sequence="recompute" needs spec'),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    mas(**options)
