"""ER-ACE against its closed form for a linear softmax model, and beside ER."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from softmax_regression import (
  Linear,
  active_rows,
  assert_same,
  cross_entropy_gradient,
  differ,
  weights,
)

from tagjax.core.chain import chain
from tagjax.engine.learner import make_learner
from tagjax.methods import er, er_ace


def trained(spec, method, *, tasks=None):
  return helpers.train_stream(helpers.programs(spec, method), spec, jax.random.key(0), tasks=tasks)


def batch_of(spec, task, *, one_class):
  """Seven rows, one of them a filler; `one_class` leaves only one class in the valid rows."""
  batch = helpers.batch(spec, task, 7)
  label = jnp.flatnonzero(spec.classes[task])[jnp.array([0, 1, 0, 1, 0, 1, 0])].astype(jnp.int32)
  mask = jnp.arange(7) % 2 == 0 if one_class else jnp.arange(7) != 2
  return batch._replace(label=label, mask=mask)


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("one_class", [True, False])
def test_gradient_is_the_batchs_among_its_classes_and_the_memorys_among_all(scenario, one_class):
  """A replay batch larger than the memory is the whole memory: nothing is left to chance."""
  spec = helpers.spec(scenario)
  method = chain(er_ace(spec, capacity=4, batch_size=30, strength=0.5), optax.sgd(1.0))
  learner = make_learner(Linear(spec.num_outputs), method, spec)
  step = jax.jit(learner.step, static_argnames="phase")
  state = learner.init(jax.random.key(0))
  for task in range(3):
    batch = batch_of(spec, task, one_class=one_class)
    matrix, memory = weights(state.variables), state.method[0][1].memory.items
    state, _ = step(state, batch, jnp.int32(task), phase="train")
    active = active_rows(spec, batch, task)
    if task > 0:
      present = np.isin(np.arange(spec.num_outputs), np.asarray(batch.label)[batch.mask])
      active = active & present
    # The filler row's label is not active in a batch of one class: any row will do for it.
    active = np.where(np.asarray(batch.mask)[:, None], active, True)
    expected = cross_entropy_gradient(matrix, batch, active)
    if task > 0:
      rows = active_rows(spec, memory, task)
      expected += 0.5 * cross_entropy_gradient(matrix, memory, rows)
    moved = matrix - weights(state.variables)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=2e-6)


def test_what_comes_from_the_left_is_kept():
  spec = helpers.spec("class")
  batch = helpers.batch(spec, 1, 7)
  moved = []
  for scale in (1.0, 3.0):
    method = chain(optax.scale(scale), er_ace(spec), optax.sgd(1.0))
    learner = make_learner(Linear(spec.num_outputs), method, spec)
    state = learner.init(jax.random.key(0))
    matrix = weights(state.variables)
    state, _ = jax.jit(learner.step, static_argnames="phase")(
      state, batch, jnp.int32(1), phase="train"
    )
    moved.append(matrix - weights(state.variables))
  usual = cross_entropy_gradient(matrix, batch, active_rows(spec, batch, 1))
  np.testing.assert_allclose(moved[1] - moved[0], 2 * usual, rtol=1e-5, atol=2e-6)


def test_old_outputs_are_not_pushed_down_by_new_classes():
  """Without replay, a batch of new classes leaves the weights of old outputs where they were."""
  spec = helpers.spec("class")
  method = chain(er_ace(spec, strength=0.0), optax.sgd(1.0))
  first = trained(spec, method, tasks=(0,))
  both = trained(spec, method, tasks=(0, 1))
  old = np.flatnonzero(spec.classes[0])
  # The last layer of the helpers' model is its head; only its columns of old classes must stay.
  name = sorted(first.variables["params"])[-1]
  head = lambda state: np.asarray(state.variables["params"][name]["kernel"])  # noqa: E731
  np.testing.assert_allclose(head(both)[:, old], head(first)[:, old], rtol=0, atol=1e-5)
  new = np.flatnonzero(spec.classes[1])
  assert np.abs(head(both)[:, new] - head(first)[:, new]).max() > 1e-2


def test_the_first_task_is_that_of_er_bit_for_bit():
  spec = helpers.spec("class")
  one = trained(spec, chain(er_ace(spec), optax.sgd(0.1)), tasks=(0,))
  two = trained(spec, chain(er(spec), optax.sgd(0.1)), tasks=(0,))
  assert_same(one.variables, two.variables)


def test_it_differs_from_er_where_classes_compete_across_tasks():
  spec = helpers.spec("class")
  one = trained(spec, chain(er_ace(spec), optax.sgd(0.1)))
  two = trained(spec, chain(er(spec), optax.sgd(0.1)))
  assert differ(one.variables, two.variables)


def test_without_memory_it_is_off():
  assert er_ace(helpers.spec(), capacity=0).init({"w": jnp.ones(2)}) == ()


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("strength", -1.0)])
def test_wrong_values_are_refused(option, value):
  with pytest.raises(ValueError, match=option):
    er_ace(helpers.spec(), **{option: value})
