"""Progressive networks of linear layers against a trace of A-GEM's code."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.types import StreamSpec
from tagjax.engine.model import initial_variables, task_stacked
from tagjax.models import prognn_mlp

GOLDEN = pathlib.Path(__file__).parents[2].resolve().parent / "shared/golden/agem_golden.npz"


def network(num_tasks, inputs, hidden, classes):
  spec = StreamSpec(num_tasks, classes, np.ones((num_tasks, classes), bool), "task", (inputs,))
  return prognn_mlp(spec, hidden=hidden), spec


def tensors(params, task):
  """Those of one column in the order of the trace: `W, b`, then `U, u` of each earlier one."""
  for layer in sorted(params):
    own = params[layer]["task"]
    yield layer, "task", "kernel", (task,), own["kernel"].shape[1:]
    yield layer, "task", "bias", (task,), own["bias"].shape[1:]
    for earlier in range(task):
      for leaf in ("kernel", "bias"):
        yield layer, "lateral", leaf, (task, earlier), params[layer]["lateral"][leaf].shape[2:]


def loaded(params, task, flat):
  for layer, part, leaf, index, shape in tensors(params, task):
    value, flat = flat[: np.prod(shape)].reshape(shape), flat[np.prod(shape) :]
    params[layer][part][leaf] = params[layer][part][leaf].at[index].set(value)
  assert not flat.size
  return params


def flattened(params, task):
  found = [
    params[layer][part][leaf][index] for layer, part, leaf, index, _ in tensors(params, task)
  ]
  return np.concatenate([np.asarray(one).ravel() for one in found])


@pytest.mark.product
def test_columns_are_those_of_the_trace():
  if not GOLDEN.exists():
    pytest.skip("the traces are not here")
  golden = np.load(GOLDEN)
  hidden, classes = tuple(map(int, golden["fc_hidden"])), int(golden["fc_num_classes"])
  num_tasks, _, rows, inputs = golden["fc_prognn_x"].shape
  model, spec = network(num_tasks, inputs, hidden, classes)
  params = initial_variables(model, spec, jax.random.key(0))["params"]
  rate = float(golden["fc_prognn_learning_rate"])

  @jax.jit
  def step(params, task, x, y):
    def loss(params):
      of_task = jnp.full(rows, task)
      logits = model.apply(
        {"params": params}, x, task_id=of_task, mask=jnp.ones(rows, bool), train=True
      )
      return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))

    return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

  for task in range(num_tasks):
    params = loaded(params, task, golden[f"fc_prognn_init_{task}"])
    for place, expected in enumerate(golden[f"fc_prognn_params_{task}"]):
      x, y = (jnp.asarray(golden[f"fc_prognn_{name}"][task, place]) for name in "xy")
      params = step(params, task, x.astype(jnp.float32), y)
      np.testing.assert_allclose(flattened(params, task), expected, rtol=1e-5, atol=1e-5)
  # No later task has moved an earlier column.
  for task in range(num_tasks):
    expected = golden[f"fc_prognn_params_{task}"][-1]
    np.testing.assert_allclose(flattened(params, task), expected, rtol=1e-5, atol=1e-5)


def test_laterals_of_columns_that_are_not_there_are_zero():
  model, spec = network(3, 5, (4,), 2)
  params = initial_variables(model, spec, jax.random.key(0))["params"]
  kernel = np.asarray(params["layer0"]["lateral"]["kernel"])
  there = np.abs(kernel).max(axis=(2, 3)) > 0
  assert there.tolist() == [[False, False], [True, False], [True, True]]
  assert all(jax.tree.leaves(task_stacked(model, spec)))
