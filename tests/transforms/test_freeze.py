"""Frozen parameters stay to the bit, whatever stands before."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.chain import chain
from tagjax.transforms import freeze, parameter_names, weight_decay

PARAMS = {
  "conv0": {"kernel": jnp.array([1.0, -0.0, 0.0]), "bias": jnp.array([0.5], jnp.bfloat16)},
  "conv1": {"kernel": jnp.array([2.0])},
  "head": [jnp.array([3.0]), jnp.array([4.0])],
}


def bits(array):
  return np.asarray(array).tobytes()


@pytest.mark.parametrize(
  ("patterns", "frozen"),
  [
    (("conv0/*",), {"conv0/kernel", "conv0/bias"}),
    (("conv?/kernel",), {"conv0/kernel", "conv1/kernel"}),
    (("*bias", "head/1"), {"conv0/bias", "head/1"}),
    (("conv[1]*",), {"conv1/kernel"}),
  ],
)
def test_what_matches_stays_to_the_bit_and_the_rest_moves(patterns, frozen):
  optimizer = optax.chain(weight_decay(0.1), optax.sgd(0.1, momentum=0.9), freeze(*patterns))

  def step(params, state):
    grads = jax.tree.map(lambda p: p + 1, params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  params, state = PARAMS, optimizer.init(PARAMS)
  for run in (step, jax.jit(step), step):  # XLA drops an added 0 of either sign
    params, state = run(params, state)
  pairs = zip(jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True)
  same = [bits(new) == bits(old) and new.dtype == old.dtype for new, old in pairs]
  names = parameter_names(PARAMS)
  assert {name for name, kept in zip(names, same, strict=True) if kept} == frozen


def test_missing_gradients_and_extra_arguments_pass():
  transform = freeze("a")
  state = transform.init({"a": jnp.ones(2), "b": jnp.ones(2)})
  updates, _ = transform.update({"a": None, "b": jnp.ones(2)}, state, task_id=0, value=1.0)
  assert updates["a"] is None
  np.testing.assert_array_equal(updates["b"], 1)


def test_in_the_compiled_loop():
  stream = helpers.spec(num_tasks=2)
  run = helpers.programs(stream, chain(optax.sgd(0.1), freeze("Dense_0/*")))
  start = jax.tree.map(np.array, run.init(jax.random.key(0)[None]).variables["params"])
  end = helpers.train_stream(run, stream, jax.random.key(0)).variables["params"]
  jax.tree.map(np.testing.assert_array_equal, end["Dense_0"], start["Dense_0"])
  assert np.abs(end["Dense_1"]["kernel"] - start["Dense_1"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize(
  ("patterns", "message"),
  [
    (("convO/kernel",), r"'convO/kernel' matches no parameter \(did you mean .*conv0/kernel"),
    (("conv0",), "'conv0' matches no parameter.*; there are: conv0/bias, conv0/kernel"),
    (("*",), "freeze all parameters"),
  ],
)
def test_bad_patterns(patterns, message):
  with pytest.raises(ValueError, match=message):
    freeze(*patterns).init(PARAMS)


def test_a_long_list_of_names_is_cut():
  many = {f"layer{i:02d}": jnp.ones(1) for i in range(30)}
  with pytest.raises(ValueError, match=r"layer07, \.\.\. \(30 in all\)$"):
    freeze("nothing").init(many)


@pytest.mark.parametrize("patterns", [(), ("",), (3,)])
def test_what_is_no_pattern(patterns):
  with pytest.raises(ValueError, match="patterns must be names of parameters"):
    freeze(*patterns)
