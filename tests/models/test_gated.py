"""Networks of gated units, against the same layers in NumPy."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

import tagjax
from tagjax.core.types import StreamSpec
from tagjax.core.units import UNBORN, edges_in_use, hidden_layers
from tagjax.models import attention_cnn, expandable_cnn, expandable_mlp
from tagjax.models.convolution import direct

SPEC = StreamSpec(3, 6, np.eye(3, dtype=bool).repeat(2, axis=1), "task", (6, 6, 2))
SIZES = {"channels": (3, 4), "kernels": (3, 3), "pools": (1, 2), "hidden": (5,)}
TASKS = jnp.array([0, 2, 1, 2])


def call(model, variables, image):
  arguments = {"task_id": TASKS, "mask": jnp.ones(4, bool), "train": False}
  return model.apply(variables, image, **arguments)


def in_numpy(params, gates, image):
  """Logits, with gates `[B, U]` by layer."""
  x = networks.in_float64(image)
  for layer, pool in enumerate(SIZES["pools"]):
    x = networks.relu(networks.convolve(x, params[f"conv{layer}"]))
    x = networks.max_pool(x * gates[f"conv{layer}"][:, None, None], pool, pool)
  x = networks.relu(networks.dense(x.reshape(len(x), -1), params["hidden0"])) * gates["hidden0"]
  return networks.dense(x, params["head"])


def started(model):
  arguments = {"task_id": TASKS[:1], "mask": jnp.ones(1, bool), "train": False}
  init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 6, 6, 2)), **arguments))
  return jax.tree.map(np.asarray, dict(nnx_free(init(jax.random.key(0)))))


def nnx_free(variables):
  return jax.tree.map(
    lambda leaf: getattr(leaf, "value", leaf),
    variables,
    is_leaf=lambda leaf: hasattr(leaf, "value") and hasattr(leaf, "names"),
  )


def test_attention_is_a_sigmoid_of_the_task_s_embeddings():
  model = attention_cnn(SPEC, **SIZES, scale=3.0).clone(convolve=direct)
  variables, image = started(model), networks.images(6, 4, 2)
  params = networks.in_float64(variables["params"])
  gates = {
    name: 1 / (1 + np.exp(-3 * rows[np.asarray(TASKS)]))
    for name, rows in params["attention"].items()
  }
  expected = in_numpy(params, gates, image)
  np.testing.assert_allclose(call(model, variables, image), expected, rtol=1e-4, atol=1e-5)
  stacked = tagjax.task_stacked(model, SPEC)
  assert all(jax.tree.leaves(stacked["attention"]))
  assert not any(jax.tree.leaves({k: v for k, v in stacked.items() if k != "attention"}))


def test_a_unit_is_there_from_its_birth_until_its_copy_stands_in_its_place():
  model = expandable_cnn(SPEC, **SIZES, start=0.5).clone(convolve=direct)
  variables, image = started(model), networks.images(6, 4, 2)
  born = {"conv0": [0, 1, UNBORN], "conv1": [0, 0, 2, 1], "hidden0": [0, 0, 1, 2, UNBORN]}
  until = {"conv0": [UNBORN] * 3, "conv1": [2, 1, UNBORN, UNBORN], "hidden0": [UNBORN] * 5}
  started_with = {
    name: (np.asarray(rows) == 0).sum() for name, rows in variables["stamps"]["born"].items()
  }
  assert started_with == {"conv0": 2, "conv1": 2, "hidden0": 2}
  stamps = [{name: np.array(row, np.int32) for name, row in one.items()} for one in (born, until)]
  variables = {**variables, "stamps": {"born": stamps[0], "until": stamps[1]}}
  task = np.asarray(TASKS)[:, None]
  gates = {
    name: ((stamps[0][name] <= task) & (task < stamps[1][name])).astype(float) for name in born
  }
  expected = in_numpy(networks.in_float64(variables["params"]), gates, image)
  np.testing.assert_allclose(call(model, variables, image), expected, rtol=1e-4, atol=1e-5)


def test_edges_that_are_not_in_use_change_nothing():
  model = expandable_cnn(SPEC, **SIZES).clone(convolve=direct)
  variables, image = started(model), networks.images(6, 4, 2)
  units = {name: born == 0 for name, born in variables["stamps"]["born"].items()}
  assert hidden_layers(variables["params"]) == ["conv0", "conv1", "hidden0"]
  masks = edges_in_use(variables["params"], units)
  assert masks["conv1"]["kernel"][0, 0].tolist() == [[True, True, False, False]] * 2 + [[False] * 4]
  other = jax.tree.map(
    lambda value, mask: np.where(mask, value, 7.0).astype(np.float32), variables["params"], masks
  )
  changed = {**variables, "params": other}
  np.testing.assert_array_equal(call(model, variables, image), call(model, changed, image))


@pytest.mark.parametrize(
  ("make", "text"),
  [
    (
      lambda: expandable_mlp(SPEC, hidden=(8,), start=1),
      r"hidden=\(8,\) leaves no room to expand beside the 8 units of a layer that start=1 takes",
    ),
    (lambda: expandable_cnn(SPEC, channels=(1,) * 4), r"channels=\(1, 1, 1, 1\) leaves no room to"),
    (lambda: expandable_mlp(SPEC, start=0.0), r"start must be in \(0, 1\), got 0.0"),
    (lambda: expandable_mlp(SPEC, hidden=()), "hidden=.. leaves no unit that a task could have"),
    (
      lambda: attention_cnn(SPEC, channels=(3,)),
      r"channels=\(3,\) has 1 values, and there are 4 k",
    ),
    (lambda: attention_cnn(SPEC, preset="seventeen_layers"), r"skips=.* would lead past the units"),
    (lambda: attention_cnn(SPEC, **SIZES, scale=1.0), "scale must be greater than 1, got 1.0"),
    (
      lambda: expandable_mlp(SPEC._replace(scenario="class")),
      "expandable_mlp has layers of each task's own, and scenario='class' does not tell",
    ),
  ],
)
def test_what_cannot_be_made_is_refused_in_a_line(make, text):
  with pytest.raises(ValueError, match=text):
    make()
