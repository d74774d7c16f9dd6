"""DEN: growth, time stamps and tasks that come again, on a stream."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.chain import chain
from tagjax.core.units import UNBORN, hidden_layers
from tagjax.methods import agem, den
from tagjax.models import expandable_mlp

STREAM = helpers.spec()
MODEL = expandable_mlp(STREAM, hidden=(10, 8), start=0.4)
# All units of the head are retrained, each task grows, and whatever moves is split.
METHOD = den(
  STREAM, optax.sgd(0.1), head_l1=0.0, threshold=0.0, expand_by=2, split_above=0.0, group=0.0
)


@functools.cache
def stages():
  run = helpers.programs(STREAM, METHOD, model=MODEL)
  key = jax.random.key(0)
  return [
    helpers.train_stream(run, STREAM, key, size=12, tasks=range(number)) for number in (1, 2, 3)
  ]


def test_the_network_grows_until_its_room_is_used_up():
  outcomes = [METHOD.outcome(state.method, jnp.int32(t)) for t, state in enumerate(stages())]
  assert outcomes[0]["units"].tolist() == [4, 3]
  assert outcomes[2]["units"].tolist() == [10, 8]
  assert [float(one["units_lacking"]) > 0 for one in outcomes] == [False, False, True]
  assert float(outcomes[1]["retrained_loss"]) > 0
  assert float(outcomes[1]["share_selected"]) == 1


def test_stamps_tell_the_task_that_a_unit_was_born_in():
  stamps = [state.variables["stamps"] for state in stages()]
  for name in hidden_layers(stages()[0].variables["params"]):
    first, second, third = (np.asarray(one["born"][name]) for one in stamps)
    assert set(first) == {0, UNBORN}
    assert {1} <= set(second) <= {0, 1, UNBORN}
    known = second < UNBORN
    np.testing.assert_array_equal(second[known], third[known])
    copied = np.asarray(stamps[1]["until"][name])
    assert set(copied) <= {1, UNBORN}
    kept = stages()[1].method.stamps
    np.testing.assert_array_equal(kept.born[name], second)


def test_a_task_that_comes_again_trains_its_outputs_alone():
  run = helpers.programs(STREAM, METHOD, model=MODEL)
  options = {"size": 12, "tasks": [0, 1, 0]}
  again = helpers.train_stream(run, STREAM, jax.random.key(0), **options)
  two = stages()[1]
  for name, part in again.variables["params"].items():
    for leaf, value in part.items():
      moved = np.asarray(value) != np.asarray(two.variables["params"][name][leaf])
      allowed = STREAM.classes[0] if name == "head" else np.zeros(part["bias"].shape, bool)
      assert not moved[..., ~allowed].any()
      assert moved.any() == (name == "head")
  for one, other in zip(
    jax.tree.leaves(again.variables["stamps"]),
    jax.tree.leaves(two.variables["stamps"]),
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)


def test_what_the_methods_within_have_to_say_is_passed_on():
  projection = agem(STREAM, capacity=1, batch_size=100)
  assert projection.notes
  assert den(STREAM, chain(projection, optax.sgd(0.1))).notes == projection.notes


@pytest.mark.parametrize(
  ("options", "text"),
  [
    ({"l1": -1.0}, r"l1 must be a number in \[0, inf\), got -1.0"),
    ({"expand_by": 0}, "expand_by must be an integer of at least 1, got 0"),
    ({"split_epochs": 0}, "split_epochs must be an integer of at least 1, got 0"),
  ],
)
def test_numbers_out_of_range_are_refused(options, text):
  with pytest.raises(ValueError, match=text):
    den(STREAM, optax.sgd(0.1), **options)
