"""Local MAS: memory aware synapses with Hebbian importances, layer by layer."""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary, Method, identity
from tagjax.core.register import register
from tagjax.core.types import Variables
from tagjax.methods import per_example, quadratic
from tagjax.transforms.checks import is_off


class MasLocalState(NamedTuple):
  """What local MAS keeps between steps.

  Attributes:
    importance: tree like params, float32 or wider: Omega, summed over tasks; starts at 0. It stays
      0 for parameters of layers without a kernel.
    anchor: tree like params: a copy of them at the end of the last task.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree


@register("mas_local", kind="modifier", traced=("strength",))
def mas_local(
  strength: float = 1.0,
  *,
  examples: int | None = None,
  clip: float | None = None,
) -> Method:
  """Local MAS: pulls each parameter to its last value, as hard as its two units fire together.

      updates += clip_by_norm(2 · strength · Omega · (params - anchor), clip)

  The penalty is `strength Σ Omega (p - anchor)²`, without a factor 1/2. Each layer with a kernel
  (dense or convolution) is taken for itself: with its input x and its output y before the
  activation, in evaluation mode and without labels, a task adds

      Omega_ij += 1/n Σ_examples |x_i · relu(y_j)|          kernel
      Omega_j  += 1/n Σ_examples relu(y_j)                  bias

  which is the gradient of `1/2 Σ_j relu(y_j)²` with the input held constant (global MAS would have
  twice that: double the strength to compare). A convolution's sum over positions is inside the
  absolute value. The layer called last is the head: `|x_i · y_j|`, of active outputs only.

  Args:
    strength: lambda, weight of the penalty, at least 0. 0 gives a method that does nothing.
    examples: the most examples of a task that its Omega is made from, at least 1; None: all.
    clip: largest global L2 norm of the pull, greater than 0; the task's gradient is not clipped.
      None: no limit.

  Returns:
    The method; its state is a `MasLocalState`.

  Raises:
    ValueError: if an argument is out of range; when a task ends, if the model has no layer with a
      kernel, or if the one called last does not give the logits.

  Differs from the paper: there is no code of the authors' for this variant. All kernels are taken
  as if a ReLU followed at once; where something else stands between (a normalisation, a sum with a
  shortcut) the firing is approximate. Parameters of normalisations are free to move.

  References:
    Aljundi et al. Memory Aware Synapses: Learning what (not) to forget. ECCV 2018, section 3.3.

  >>> import optax
  >>> from tagjax.core.chain import chain
  >>> method = chain(mas_local(0.1), optax.sgd(0.1))
  >>> method.init({"w": jnp.ones(2)})[0].importance["w"].tolist()
  [0.0, 0.0]
  """
  quadratic.check(strength, clip)
  per_example.check_examples(examples)
  if is_off(strength):
    return identity()

  def init(params):
    return MasLocalState(quadratic.zeros(params), quadratic.copy(params))

  def update(updates, state, params, *, at):
    del at
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state

  def consolidate(state, variables, *, at):
    chunk = per_example.first_examples(at.chunk, examples)
    new = per_example.mean_over_examples(_co_activation(at, variables), chunk, of=jnp.abs)
    importance = jax.tree.map(jnp.add, state.importance, new)
    return MasLocalState(importance, quadratic.copy(variables["params"])), variables

  return Method(init, update, consolidate, num_boundary_examples=examples)


def _co_activation(at: Boundary, variables: Variables) -> per_example.BatchFunction:
  """`batch of one row -> x_i y_j`, a tree like params; 0 outside of layers with a kernel."""

  def energy(params, batch):
    outputs = []
    with nn.intercept_methods(_cut_before_kernels(outputs)):
      logits, _ = at.apply_fn({**variables, "params": params}, batch)
    *hidden, head = _checked(outputs, logits)
    active = jnp.where(at.active_fn(batch), head, 0)
    parts = [jnp.sum(jnp.square(y)) for y in (*map(nn.relu, hidden), active)]
    return sum(parts) / 2

  return lambda batch: jax.grad(energy)(variables["params"], batch)


def _cut_before_kernels(outputs: list[chex.Array]):
  """An interceptor that holds the inputs of layers with a kernel constant, and records outputs.

  Layers are told by their parameter: the model may be made of anyone's modules.
  """

  def interceptor(call, args, kwargs, context):
    layer = context.module.has_variable("params", "kernel")
    if context.method_name != "__call__" or not layer:
      return call(*args, **kwargs)
    result = call(*jax.tree.map(_constant, args), **jax.tree.map(_constant, kwargs))
    outputs.append(result)
    return result

  return interceptor


def _constant(value):
  # Only arrays: a flag or a rate must stay a Python value.
  return jax.lax.stop_gradient(value) if isinstance(value, jax.Array) else value


def _checked(outputs: list[chex.Array], logits: chex.Array) -> list[chex.Array]:
  if not outputs:
    raise ValueError("mas_local found no layer with a parameter named 'kernel': use mas")
  if outputs[-1].shape != logits.shape:
    raise ValueError(
      f"mas_local: the layer called last gives {outputs[-1].shape}, the logits are {logits.shape}: "
      "use mas, or a model that ends with its head"
    )
  return outputs
