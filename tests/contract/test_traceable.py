"""Hyperparameters as inputs of the compiled programs: the same as constants, and all in use."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.register import declared
from tagjax.engine.layout import Layout

STREAM = helpers.spec()
# Value in the config -> another one that must make a difference.
CHAINS = {
  "ewc+er+tag": {
    "learning_rate": (0.01, 0.02),
    "tag.b": (5.0, 2.0),
    "ewc.strength": (50.0, 500.0),
    "er.strength": (1.0, 0.2),
  },
  "mas+derpp+stable_sgd": {
    "mas.strength": (0.1, 1.0),
    "der.strength": (0.5, 0.1),
    "der.label_strength": (0.5, 0.1),
    "stable_sgd.decay": (0.9, 0.5),
    "stable_sgd.floor": (0.001, 0.05),
  },
  "si+rwalk+lwf+gem": {
    "si.strength": (1.0, 10.0),
    "si.damping": (0.01, 0.1),
    "rwalk.strength": (1.0, 10.0),
    "rwalk.decay": (0.9, 0.5),
    "rwalk.damping": (1e-7, 0.01),
    "lwf.strength": (1.0, 3.0),
    "lwf.temperature": (2.0, 4.0),
    "gem.margin": (0.5, 5.0),
    "gem.eps": (0.001, 0.5),
  },
  "itaml+sgd": {"itaml.beta": (1.0, 3.0)},
  "icarl+sgd": {"icarl.strength": (1.0, 3.0)},
  "bic+sgd": {"bic.temperature": (2.0, 4.0)},
  "weight_decay+mas_local": {
    "weight_decay.strength": (0.01, 0.1),
    "mas_local.strength": (0.1, 1.0),
  },
}


OF_PREDICTIONS = {"gdumb.max_rate", "gdumb.min_rate"}
"""They change what is served and not what is trained: tests/methods/test_gdumb.py."""


def method_of(chain):
  values = {"learning_rate": 0.05, "rwalk.update_every": 2, "memory.capacity": 2}
  values |= {key: value for key, (value, _) in CHAINS[chain].items()}
  return helpers.named_method(chain, STREAM, [6] * STREAM.num_tasks, **values)


def test_each_key_is_tried():
  traced = {key for one in declared("optimizer", "modifier").values() for key in one.traced_keys()}
  assert {key for keys in CHAINS.values() for key in keys} == traced - OF_PREDICTIONS


@pytest.mark.parametrize("chain", CHAINS)
def test_inputs_are_constants_up_to_rounding(chain):
  """Lane 0 has the config's values; each other lane one other value."""
  keys = list(CHAINS[chain])
  columns = {
    key: jnp.asarray([CHAINS[chain][key][lane == place + 1] for lane in range(len(keys) + 1)])
    for place, key in enumerate(keys)
  }
  made = method_of(chain)
  lanes = helpers.programs(STREAM, made, layout=Layout(len(keys) + 1))
  alone = helpers.programs(STREAM, made({}))
  key = jax.random.key(0)
  together = helpers.train_stream(
    lanes, STREAM, jnp.stack([key] * (len(keys) + 1)), hyper=columns
  ).variables["params"]
  expected = helpers.train_stream(alone, STREAM, key).variables["params"]
  for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a[0], b, rtol=2e-3, atol=1e-4)
  for place, name in enumerate(keys):
    moved = [np.abs(leaf[place + 1] - leaf[0]).max() for leaf in jax.tree.leaves(together)]
    assert max(moved) > 1e-5, f"{name} makes no difference"
  assert all(count == 1 for count in lanes.traces.values())
