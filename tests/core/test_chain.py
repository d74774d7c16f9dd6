"""What a chain hands on besides updates: collections that moved, restarts, names around others."""

import jax.numpy as jnp
import optax
import pytest

from tagjax.core.chain import called_around, chain
from tagjax.core.method import Cost, Method, Step, has_outcome, identity, reserves

AT = Step(*[None] * len(Step._fields))._replace(task_id=jnp.int32(3))


@pytest.fixture(autouse=True)
def _without_keys(monkeypatch):
  monkeypatch.setattr("tagjax.core.chain._own_key", lambda at, position: at)


def moving(**collections):
  def update(updates, state, params, *, at):
    del params, at
    return updates, state, collections

  return Method(lambda params: (), update)


def test_collections_of_later_members_count():
  def moved(*members):
    return chain(*members).update(1.0, ((),) * len(members), None, at=AT)[2:]

  assert moved(identity(), identity()) == ()
  assert moved(moving(a=1), identity()) == ({"a": 1},)
  assert moved(moving(a=1, b=2), moving(b=3)) == ({"a": 1, "b": 3},)


def test_optimizers_restart_and_methods_stay():
  keeper = Method(lambda params: 5, None)
  method = chain(keeper, optax.trace(0.9))
  params = {"w": jnp.ones(2)}
  state = (7, optax.TraceState({"w": jnp.full(2, 4.0)}))
  kept, trace = method.restart(state, params)
  assert kept == 7
  assert trace.trace["w"].tolist() == [0.0, 0.0]


def test_a_method_around_another_is_called_as_the_chain():
  inner = chain(
    identity()._replace(name="ewc", settings={"strength": 2.0}), identity()._replace(name="sgd")
  )
  made = called_around(identity()._replace(name="itaml", settings={"r": 1}), inner)
  assert made.name == "itaml+ewc+sgd"
  assert made.settings == {"itaml": {"r": 1}, "ewc": {"strength": 2.0}}


def test_a_chain_needs_what_all_its_members_need_and_tells_their_outcomes():
  def pruned(mask, **figures):
    return identity()._replace(
      in_use=lambda state, params, used: used & mask,
      outcome=lambda state, task_id: {name: value + task_id for name, value in figures.items()},
      monitor=lambda state: figures,
    )

  method = chain(pruned(0b011, a=1), identity(), pruned(0b110, b=2))
  assert reserves(method)
  assert has_outcome(method)
  assert method.in_use(((),) * 3, None, 0b111) == 0b010
  assert method.outcome(((),) * 3, 5) == {"a": 6, "b": 7}
  assert method.monitor(((),) * 3) == {"a": 1, "b": 2}
  costs = [identity()._replace(cost=lambda *shapes, n=n: Cost("", n, "")) for n in (3, 7, 5)]
  assert chain(*costs).cost(None, [], 1).bytes == 7
  plain = chain(identity(), identity())
  assert plain.cost(None, [], 1) is None
  assert not reserves(plain)
  assert not has_outcome(plain)
  assert plain.in_use(((),) * 2, None, 0b111) == 0b111
