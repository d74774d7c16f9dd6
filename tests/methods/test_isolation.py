"""What methods with parameters of each task's own have in common."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.method import Method, Phase, identity, lift
from tagjax.methods import er, isolation

STREAM = helpers.spec()
PARAMS = {
  "attention": {"layer": jnp.zeros((3, 5))},
  "dense": {"kernel": jnp.zeros((4, 5)), "bias": jnp.zeros(5)},
  "head": {"kernel": jnp.zeros((5, 6)), "bias": jnp.zeros(6)},
}
STACKED = {name: jax.tree.map(lambda _, n=name: n == "attention", PARAMS[name]) for name in PARAMS}


def test_a_parameter_is_of_the_head_or_has_rows_or_is_shared():
  found = isolation.kinds(PARAMS, STREAM, "head/*", STACKED)
  assert found == {
    "attention": {"layer": "rows"},
    "dense": {"kernel": "shared", "bias": "shared"},
    "head": {"kernel": "head", "bias": "head"},
  }
  assert isolation.kinds(PARAMS, STREAM, "head/*", None)["attention"] == {"layer": "shared"}
  # Rows alone tell the tasks apart.
  rows = isolation.kinds(
    {"attention": PARAMS["attention"]}, STREAM, "none", {"attention": {"layer": True}}
  )
  assert rows == {"attention": {"layer": "rows"}}


@pytest.mark.parametrize(
  ("head", "text"),
  [
    ("out/*", "head='out/.' matches no parameter; there are: attention/layer, dense/bias, dense/k"),
    ("dense/*", "head='dense/.' matches dense/bias of shape .5,., whose last axis must be the 6"),
  ],
)
def test_a_head_that_is_none_is_refused(head, text):
  with pytest.raises(ValueError, match=text):
    isolation.kinds(PARAMS, STREAM, head, None)


def test_of_rows_a_task_has_one_and_of_the_head_its_outputs():
  task = jnp.int32(1)
  rows = isolation.own_part("rows", PARAMS["attention"]["layer"], STREAM, task)
  assert rows.tolist() == [[False], [True], [False]]
  outputs = [False, False, True, True, False, False]
  assert isolation.own_part("head", PARAMS["head"]["bias"], STREAM, task).tolist() == outputs
  assert isolation.own_part("head", PARAMS["head"]["kernel"], STREAM, task).tolist() == [outputs]


def test_what_is_masked_is_zero_and_not_multiplied():
  updates = {"a": jnp.array([jnp.nan, 2.0]), "b": jnp.full((2, 2), 3.0)}
  masks = {"a": jnp.array([False, True]), "b": jnp.array([[True], [False]])}
  found = isolation.masked(masks, updates)
  assert jax.tree.map(lambda leaf: leaf.tolist(), found) == {
    "a": [0.0, 2.0],
    "b": [[3.0, 3.0], [0.0, 0.0]],
  }


def test_what_stands_around_passes_on_what_is_within():
  notes, requires = ("a note",), frozenset({"routing"})
  inner = identity()._replace(
    diagnose=lambda state: {"d": state},
    monitor=lambda state: {"m": state},
    pads_batches=True,
    requires=requires,
    notes=notes,
  )

  class State:
    inner = np.float32(7.0)

  made = isolation.around(inner, None, None, None, requires={"attention"}, name="own")
  assert (made.diagnose(State), made.monitor(State)) == ({"d": 7.0}, {"m": 7.0})
  assert made.requires == {"routing", "attention"}
  assert (made.ignores_updates, made.pads_batches) == (True, True)
  assert (made.notes, made.name) == (notes, "own")


def inner(**changes) -> Method:
  return lift(optax.sgd(0.1))._replace(name="mine", **changes)


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    ({"ignores_updates": True}, "makes its step from scratch"),
    ({"rehearsal": lambda state: None}, "mixes exemplars of earlier tasks into the training set"),
    ({"prepare": lambda state, variables, *, at: None}, "has a prediction of its own"),
    ({"predict": lambda served, *, at: None}, "has a prediction of its own"),
    ({"phases": (Phase("one"), Phase("two"))}, "has phases of its own"),
  ],
)
def test_what_cannot_stand_within_is_named(changes, text):
  with pytest.raises(ValueError, match=rf"^inner \(mine\) {text}, which hat cannot hold"):
    isolation.checked_inner(inner(**changes), "hat", memories=True)


def test_a_memory_may_stand_within_where_it_has_something_to_train():
  memory = er(STREAM, capacity=1)
  params = {"head": PARAMS["head"]}
  isolation.checked_inner(memory, "den", memories=True).init(params)
  isolation.checked_inner(optax.adam(0.1), "hat", memories=False).init(params)
  with pytest.raises(ValueError, match="keeps examples of earlier tasks, and hat freezes their"):
    isolation.checked_inner(memory, "hat", memories=False).init(params)


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_a_stream_that_hides_tasks_is_refused(scenario):
  isolation.check_scenario(STREAM, "hat")
  with pytest.raises(ValueError, match=f"hat computes each task .* scenario='{scenario}' does not"):
    isolation.check_scenario(helpers.spec(scenario), "hat")
