"""Every optimizer of Optax by name takes Optax's steps; what is left out cannot work."""

import inspect

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from tagjax.core.chain import chain
from tagjax.transforms.optimizers import REFUSED, optax_optimizers

TABLE = optax_optimizers()


def drawn(seed, shape, scale):
  """Float32; made by NumPy, since modules are imported by every worker."""
  return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


PARAMS = {
  "conv": drawn(1, (3, 3, 2, 4), 0.3),
  "dense": {"kernel": drawn(2, (5, 4), 0.2), "bias": np.zeros(4, np.float32)},
}
# Their first steps are of about 1e-6, by design: they look for the rate from below.
FROM_BELOW = {"dadapt_adamw", "dog", "dowg", "prodigy"}


def in_optax(name):
  return getattr(optax.contrib, name, None) or getattr(optax, name)


def gradient(params):
  return jax.tree.map(lambda p: p - 0.1, params)


def walk(make, steps=3):
  """Params after some steps, all extra arguments given as in a training step."""
  optimizer = optax.with_extra_args_support(make())
  params, state = PARAMS, optimizer.init(PARAMS)
  for _ in range(steps):
    grad = gradient(params)
    updates, new = optimizer.update(
      grad, state, params, value=jnp.float32(1.0), grad=grad, task_id=jnp.int32(0)
    )
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, new)]
    assert kinds[0] == kinds[1]
    params, state = optax.apply_updates(params, updates), new
  return params


def distance(a, b):
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return max(float(jnp.abs(x - y).max()) for x, y in pairs)


@pytest.mark.parametrize("name", TABLE)
def test_optimizer_steps_as_optaxs_does(name):
  optimizer = TABLE[name]
  assert "learning_rate" in next(iter(inspect.signature(optimizer).parameters))
  found = walk(lambda: optimizer(0.01))
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
  assert distance(found, PARAMS) > (1e-9 if name in FROM_BELOW else 1e-5)
  if name not in ("sgd", "polyak_sgd"):
    assert distance(found, walk(lambda: optax.sgd(0.01))) > 1e-6
  theirs = in_optax(name)
  given = {"key": 0} if name == "noisy_sgd" else {}
  expected = walk(lambda: theirs(0.01, **given))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_rates_may_be_traced():
  def one(rate, name):
    return walk(lambda: TABLE[name](rate), steps=1)

  for name in TABLE:
    jax.eval_shape(lambda rate, name=name: one(rate, name), jnp.float32(0.1))


def test_the_table_holds_what_optax_has():
  known = {"adamw", "nadam", "nadamw", "lion", "lamb", "radam", "yogi", "adafactor", "lars", "muon"}
  assert known <= TABLE.keys()
  assert not TABLE.keys() & REFUSED.keys()
  aliases = {
    name
    for name, thing in vars(optax._src.alias).items()
    if callable(thing) and hasattr(optax, name) and not name.startswith(("_", "scale_by_"))
  }
  assert {"sgd", "nadam", "polyak_sgd"} <= aliases
  optimizers = {name for name in aliases if "rate" in str(inspect.signature(getattr(optax, name)))}
  assert optimizers <= TABLE.keys() | REFUSED.keys()


def fails_in_a_step(name):
  with pytest.raises((TypeError, ValueError), match=r"value_fn|obj_fn"):
    walk(lambda: in_optax(name)(0.01))


def needs_an_axis_of_examples(name):
  with pytest.warns(DeprecationWarning, match="seed"):  # which it requires
    optimizer = in_optax(name)(0.01, l2_norm_clip=1.0, noise_multiplier=1.0, seed=0)
  with pytest.raises(ValueError, match="batch dim"):
    walk(lambda: optimizer)


def is_deprecated(name):
  with pytest.warns(DeprecationWarning, match="optimistic_adam_v2"):
    in_optax(name)(0.01)


def wraps_another(name):
  with pytest.raises(TypeError, match="base_optimizer"):
    in_optax(name)(learning_rate=0.01)


def trains_other_parameters_than_it_tests(name):
  optimizer = in_optax(name)(0.1)
  params, state = PARAMS, optimizer.init(PARAMS)
  for _ in range(3):
    updates, state = optimizer.update(gradient(params), state, params)
    params = optax.apply_updates(params, updates)
  assert distance(optax.contrib.schedule_free_eval_params(state, params), params) > 1e-4


REASONS = {
  "lbfgs": fails_in_a_step,
  "sophia": fails_in_a_step,
  "dpsgd": needs_an_axis_of_examples,
  "optimistic_adam": is_deprecated,
  "schedule_free": wraps_another,
  "schedule_free_adamw": trains_other_parameters_than_it_tests,
  "schedule_free_sgd": trains_other_parameters_than_it_tests,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_cannot_work(name):
  REASONS[name](name)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("adamw", {"weight_decay": "much"}, "weight_decay of adamw must be a number, got 'much'"),
    ("galore", {"rank": 2.5}, "rank of galore must be an integer, got 2.5"),
    ("lars", {"nesterov": 1}, "nesterov of lars must be True or False, got 1"),
    ("prodigy", {"betas": (0.9,)}, "betas of prodigy must be tuple"),
    ("muon", {"preconditioning": "no"}, "must be one of 'frobenius', .*got 'no'"),
  ],
)
def test_bad_options(name, options, message):
  with pytest.raises(ValueError, match=message):
    TABLE[name](0.1, **options)


def test_missing_rate_and_unknown_options():
  with pytest.raises(ValueError, match="adamw needs learning_rate: a number"):
    TABLE["adamw"]()
  with pytest.raises(TypeError, match=r"adamw\(\) has no option 'mask'"):
    TABLE["adamw"](0.1, mask=None)
  with pytest.raises(TypeError, match="takes options by name"):
    TABLE["adamw"](0.1, 0.9)


# The last two are told the loss.
@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.05), ("momo", 0.05), ("polyak_sgd", 1.0)])
def test_optimizer_trains_in_the_compiled_loop(name, rate):
  stream = helpers.spec(num_tasks=2)

  def trained(method):
    run = helpers.programs(stream, method)
    return helpers.train_stream(run, stream, jax.random.key(0)).variables["params"]

  found = trained(chain(TABLE[name](rate)))
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
  assert distance(found, trained(chain(optax.sgd(rate)))) > 1e-3
