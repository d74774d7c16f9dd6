"""Mixed precision: products in bfloat16; parameters, statistics, logits, gradients in float32."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from tagjax.models import (
  MLP,
  AlexNet,
  CifarAlexNet,
  Conv,
  LasemCNN,
  LeNet,
  ReducedResNet,
  ResNet18,
  RPSNet,
)
from tagjax.models.convolution import by_patches, direct

PRODUCTS = ("dot_general", "conv_general_dilated")
MODELS = {
  "mlp": (lambda **options: MLP(num_outputs=6, hidden=(32, 32), **options), (8, 8, 1)),
  "patches": (
    lambda **options: ReducedResNet(num_outputs=6, width=4, convolve=by_patches, **options),
    (32, 32, 3),
  ),
  "direct": (
    lambda **options: ReducedResNet(num_outputs=6, width=4, convolve=direct, **options),
    (32, 32, 3),
  ),
}

LASEM = {"channels": (4, 4), "kernels": (5, 3), "pools": (3, 1), "hidden": (8,)}
NETWORKS = {
  "resnet18": (lambda **options: ResNet18(6, width=4, blocks=(1, 1), **options), (32, 32, 3)),
  "alexnet": (lambda **options: AlexNet(6, hidden=8, dropout=0.0, **options), (70, 70, 3)),
  "cifar_alexnet": (
    lambda **options: CifarAlexNet(6, 8, (0.0,) * 3, 0.0, **options),
    (32, 32, 3),
  ),
  "lenet": (lambda **options: LeNet(6, **options), (28, 28, 1)),
  "rps_net": (lambda **options: RPSNet(6, widths=(4, 4, 4, 4), blocks=1, **options), (8, 8, 3)),
  "lasem_cnn": (lambda **options: LasemCNN(6, **LASEM, dropout=0.0, **options), (8, 8, 3)),
}


def prepare(name):
  """The model in both dtypes, its variables, and the arguments of its call."""
  make, shape = MODELS[name]
  rng = np.random.default_rng(0)
  image = jnp.asarray(rng.random((8, *shape), np.float32))
  call = {"task_id": jnp.zeros(8, jnp.int32), "mask": jnp.ones(8, bool)}
  full, mixed = make(), make(compute_dtype=jnp.bfloat16)
  variables = jax.jit(lambda: full.init(jax.random.key(0), image, train=False, **call))()
  own = jax.eval_shape(lambda: mixed.init(jax.random.key(0), image, train=False, **call))
  assert own == jax.eval_shape(lambda: variables)
  return full, mixed, variables, image, call


def products(jaxpr):
  """Dtypes that go into the matrix products and convolutions, those of inner functions too."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in PRODUCTS:
      yield from (operand.aval.dtype for operand in equation.invars)
    for value in equation.params.values():
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from products(inner)


def training_pass(model, variables, image, call):
  """`params -> ((loss, (logits, changed variables)), gradient)`."""

  def loss(params):
    state = {**variables, "params": params}
    logits, changed = model.apply(state, image, train=True, mutable=["batch_stats"], **call)
    return jnp.mean(jnp.square(logits - 1)), (logits, changed)

  return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize("name", MODELS)
def test_products_are_in_bfloat16_and_the_rest_in_float32(name):
  _, mixed, variables, image, call = prepare(name)
  run = training_pass(mixed, variables, image, call)
  found = set(products(jax.make_jaxpr(run)(variables["params"]).jaxpr))
  assert found == {jnp.dtype(jnp.bfloat16)}
  (loss, (logits, changed)), grad = jax.eval_shape(run, variables["params"])
  assert loss.dtype == logits.dtype == jnp.float32
  assert {leaf.dtype for leaf in jax.tree.leaves((grad, changed))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", MODELS)
def test_float32_is_the_default_and_has_no_bfloat16(name):
  full, _, variables, image, call = prepare(name)
  run = training_pass(full, variables, image, call)
  assert "bf16" not in str(jax.make_jaxpr(run)(variables["params"]))


@pytest.mark.parametrize("name", ["mlp", "patches"])
def test_logits_and_gradients_are_near_those_of_float32(name):
  full, mixed, variables, image, call = prepare(name)
  params = variables["params"]
  (_, (exact, _)), exact_grad = jax.jit(training_pass(full, variables, image, call))(params)
  (_, (ours, changed)), grad = jax.jit(training_pass(mixed, variables, image, call))(params)
  assert 0 < distance(ours, exact) < 0.05
  assert distance(*(ravel_pytree(tree)[0] for tree in (grad, exact_grad))) < 0.2
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(changed))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_images_do_as_their_dtype_says(name):
  make, shape = NETWORKS[name]
  image = networks.images(shape[0], channels=shape[2])
  call = networks.call(image)
  for dtype in (jnp.float32, jnp.bfloat16):
    model = make(compute_dtype=dtype)
    variables = networks.shapes(model, *shape)[1]
    assert variables == networks.shapes(make(), *shape)[1]
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    run = training_pass(model, blank, image, call)
    found = set(products(jax.make_jaxpr(run)(blank["params"]).jaxpr))
    assert found == {jnp.dtype(dtype)}
    (_, (logits, changed)), grad = jax.eval_shape(run, blank["params"])
    leaves = jax.tree.leaves((logits, changed, grad))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


def distance(one, other):
  return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))


def test_a_convolution_with_a_bias_keeps_the_dtype_of_its_image():
  image = jnp.ones((1, 5, 5, 2), jnp.bfloat16)
  out, variables = Conv(3, use_bias=True).init_with_output(jax.random.key(0), image)
  assert out.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
