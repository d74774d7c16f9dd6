"""Networks with layers that tasks share or have for themselves."""

import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import linen as nn

from tagjax.core.sharing import OWN, SHARED
from tagjax.core.types import StreamSpec
from tagjax.engine.model import checked_model, task_stacked
from tagjax.models import dfcnn, hps, prognn, tf
from tagjax.models.convolution import direct
from tagjax.models.dfcnn import DFCNN
from tagjax.models.tf import TF
from tagjax.models.transfer_layers import Sizes, glorot

CLASSES = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 1]], bool)
SPEC = StreamSpec(3, 5, CLASSES, "task", (8, 8, 3))
SIZES = {"channels": (4, 4, 5), "kernels": (5, 3, 3), "pools": (1, 3, 2), "hidden": (6,)}
FACTORS = {"base_channels": (2, 3, 4), "filter_sizes": (3, 2, 5), "filter_channels": (3, 4, 5)}


def network(make=hps, **options):
  options = {**SIZES, **(FACTORS if make is dfcnn else {}), "dropout": 0.0, **options}
  return make(SPEC, **options).clone(convolve=direct)


def drawn(model, seed=0):
  """Variables of which each one matters."""
  shapes = jax.eval_shape(
    functools.partial(model.init, train=False),
    jax.random.key(0),
    jnp.zeros((1, 8, 8, 3)),
    **networks.call(jnp.zeros((1, 8, 8, 3))),
  )
  rng = np.random.default_rng(seed)

  def draw(leaf):
    if leaf.dtype == bool:
      return jnp.ones(leaf.shape, bool)
    return jnp.asarray(rng.normal(size=leaf.shape) * 0.3, jnp.float32)

  return jax.tree.map(draw, nn.meta.unbox(shapes))


IMAGE = networks.images(8, rows=5)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def logits(model, variables, task_id, mask=None, train=False):
  mask = jnp.ones(len(task_id), bool) if mask is None else mask
  return model.apply(variables, IMAGE, task_id=task_id, mask=mask, train=train)


def of_task(task):
  return jnp.full(len(IMAGE), task, jnp.int32)


def in_numpy(variables, task, sharing, generated):
  """The logits of one task in float64."""
  params = networks.in_float64(variables["params"])
  x = IMAGE.astype(np.float64)
  margins = (((0, 0), (0, 0)), ((0, 1), (0, 1)), ((0, 1), (0, 1)))  # 8, 8 -> 3 -> 2
  for layer, pool in enumerate(SIZES["pools"]):
    conv = params[f"conv{layer}"]
    parts = {part: value for part, value in conv.items() if part != "shared"}
    own = jax.tree.map(lambda rows: rows[task], parts)
    weights = generated(layer, conv["shared"], own) if sharing[layer] else own["task"]
    x = networks.relu(networks.convolve(x, weights))
    x = networks.max_pool(x, pool, pool, margins[layer]) if pool > 1 else x
  x = x.reshape(len(x), -1)
  x = networks.relu(networks.dense(x, {k: v[task] for k, v in params["hidden0"]["task"].items()}))
  return networks.dense(x, {k: v[task] for k, v in params["head"]["task"].items()})


def of_hps(layer, shared, own):
  del layer, own
  return shared


def of_tf(layer, shared, own):
  del layer
  factors = own["factors"]
  matrices = [factors[f"u{mode}"] for mode in range(1, 5)]
  return {
    "kernel": np.einsum("abcd,aw,bx,cy,dz->wxyz", shared["base"], *matrices),
    **_bias(factors),
  }


def of_dfcnn(layer, shared, own):
  """The generated kernel as the explicit sum of the paper."""
  base, factors = shared["base"][0], own["factors"]
  size, side = FACTORS["filter_sizes"][layer], 2 * (len(base) - 1) + 1
  before = (size - 1) // 2
  made = np.zeros((side, side, FACTORS["filter_channels"][layer])) + factors["filter_bias"][0]
  for i, j, a, b in np.ndindex(side, side, len(base), len(base)):
    row, column = i - 2 * a + before, j - 2 * b + before
    if 0 <= row < size and 0 <= column < size:
      made[i, j] += factors["filter"][row, column] @ base[a, b]
  return {"kernel": np.einsum("ijt,tmn->ijmn", made, factors["mix"]), **_bias(factors)}


def _bias(factors):
  return {"bias": factors["bias"]}


@pytest.mark.parametrize(
  ("make", "generated"), [(hps, of_hps), (tf, of_tf), (dfcnn, of_dfcnn)], ids=["hps", "tf", "dfcnn"]
)
def test_logits_equal_numpy_and_stand_at_the_outputs_of_the_task(make, generated):
  model = network(make, sharing="TFT")
  variables = drawn(model)
  found = np.asarray(logits(model, variables, of_task(1)))
  expected = in_numpy(variables, 1, (True, False, True), generated)
  np.testing.assert_allclose(found[:, 2:], expected, rtol=1e-4, atol=1e-4)
  assert not found[:, :2].any()


@pytest.mark.parametrize("make", [functools.partial(hps, sharing="bottom-1"), prognn])
def test_rows_of_several_tasks_are_each_of_its_own(make):
  model = network(make)
  variables, tasks = drawn(model), jnp.array([2, 0, 1, 2, 0])
  mask = jnp.array([True, True, True, True, False])
  mixed = np.asarray(logits(model, variables, tasks, mask))
  for task in range(3):
    alone = np.asarray(logits(model, variables, of_task(task)))
    rows = (np.asarray(tasks) == task) & np.asarray(mask)
    np.testing.assert_allclose(mixed[rows], alone[rows], rtol=1e-5, atol=1e-6)
  beyond = np.asarray(logits(model, variables, of_task(3)))
  assert np.isnan(beyond).all()


def test_gradients_of_several_tasks_add_up():
  model = network(sharing="bottom-1")
  variables, tasks = drawn(model), jnp.array([2, 0, 2, 0, 0])

  @jax.jit
  def gradient(mask, tasks):
    def loss(params):
      out = model.apply({"params": params}, IMAGE, task_id=tasks, mask=mask, train=True)
      return jnp.sum(jnp.where(mask[:, None], jnp.square(out), 0))

    return jax.grad(loss)(variables["params"])

  whole = gradient(jnp.ones(5, bool), tasks)
  parts = [gradient(tasks == task, of_task(task)) for task in (0, 2)]
  for one, two in zip(
    jax.tree.leaves(whole), jax.tree.leaves(jax.tree.map(jnp.add, *parts)), strict=True
  ):
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_all_configurations_at_once_are_each_by_itself():
  model = network(tf, sharing="searched").clone(skips=((1, 1),))
  variables, routing = drawn(model), {"sharing": jnp.zeros((3, 3), bool)}
  rows = np.array([[SHARED, OWN, SHARED], [OWN, OWN, SHARED], [SHARED, SHARED, OWN]], np.int8)

  @jax.jit
  def together(variables):
    asked = {**variables, "routing": {**routing, "candidates": rows}}
    return model.apply(asked, IMAGE, task_id=of_task(1), mask=jnp.ones(5, bool), train=False)

  for row, found in zip(rows, together(variables), strict=True):
    own = {"sharing": routing["sharing"].at[1].set(row == SHARED)}
    alone = logits(model, {**variables, "routing": own}, of_task(1))
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


def test_sizes_of_generated_kernels():
  assert TF().shared(Sizes(3, 4, 5))["base"][1] == (3, 3, 4, 5)
  layer = DFCNN(base_channels=2, size=3, channels=4)
  assert layer.shared(Sizes(5, 3, 6))["base"][1] == (1, 3, 3, 2)
  with pytest.raises(ValueError, match="odd size"):
    layer.shared(Sizes(4, 3, 6))


@pytest.mark.parametrize(
  ("shape", "limit"), [((5, 5), (3 / 5) ** 0.5), ((7,), (3 / 7) ** 0.5), ((2, 3, 4, 6), 0.1**0.5)]
)
def test_factors_start_uniform(shape, limit):
  values = np.asarray(glorot(jax.random.key(0), (*shape[:-2], *shape[-2:])))
  assert limit * 0.5 < np.abs(values).max() <= limit


def test_only_rows_of_tasks_are_marked():
  marked = task_stacked(network(tf, sharing="TFT"), SPEC)
  assert marked["conv0"]["factors"]["u1"]
  assert not marked["conv0"]["shared"]["base"]
  assert marked["conv1"]["task"]["kernel"]
  assert marked["head"]["task"]["kernel"]


def test_the_deep_preset_has_skips_and_no_generators():
  spec = SPEC._replace(image_shape=(32, 32, 3))
  model = hps(spec, preset="seventeen_layers", sharing="all")
  assert len(model.skips) == 5
  shapes, _ = checked_model(model, spec)
  assert shapes["params"]["conv16"]["shared"]["kernel"].shape == (3, 3, 512, 512)
  assert tf(spec, preset="stl10").hidden == (128,)
  with pytest.raises(
    ValueError, match=r"base_channels=.* has 0 values: give one for each of the 17"
  ):
    dfcnn(spec, preset="seventeen_layers")


def test_what_does_not_fit_is_one_line():
  with pytest.raises(ValueError, match="scenario='class' does not tell the task"):
    hps(SPEC._replace(scenario="class"))
  with pytest.raises(ValueError, match=r"channels=\(4, 4\) has 2 values, and there are 4 kernels"):
    hps(SPEC, channels=(4, 4))
  longer = SPEC._replace(num_tasks=4, classes=np.vstack([CLASSES, CLASSES[:1]]))
  with pytest.raises(ValueError, match="must have 4 rows, one for each task of the stream"):
    checked_model(network(), longer)


def test_no_gradient_reaches_earlier_columns():
  model = network(prognn, scale=1.0)
  variables = drawn(model)

  @jax.jit
  def gradient(task):
    def loss(params):
      out = model.apply(
        {"params": params}, IMAGE, **{"task_id": of_task(task)}, mask=jnp.ones(5, bool), train=True
      )
      return jnp.sum(jnp.square(out))

    return jax.grad(loss)(variables["params"])

  for leaf in jax.tree.leaves(gradient(jnp.int32(1))):
    assert not np.asarray(leaf)[[0, 2]].any()
  lateral = gradient(jnp.int32(1))["conv1"]["lateral"]["kernel"]
  assert np.asarray(lateral)[1, 0].any()
  assert not np.asarray(lateral)[1, 1].any()
