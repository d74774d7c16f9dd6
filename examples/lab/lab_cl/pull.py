"""Pull: a quadratic pull towards the parameters at the end of the previous task."""

import jax
import jax.numpy as jnp

import tagjax


@tagjax.register("pull", kind="modifier", traced=("strength",))
def pull(strength: float = 1.0) -> tagjax.Method:
  """Adds `strength (p - anchor)` to the gradient from the second task on.

  Args:
    strength: how hard it pulls, at least 0.
  """

  def init(params):
    return jnp.zeros((), bool), jax.tree.map(jnp.copy, params)

  def update(updates, state, params, *, at):
    weight = jnp.where(state[0], strength, 0.0)
    return jax.tree.map(lambda g, p, a: g + weight * (p - a), updates, params, state[1]), state

  def consolidate(state, variables, *, at):
    return (jnp.ones((), bool), jax.tree.map(jnp.copy, variables["params"])), variables

  return tagjax.Method(init, update, consolidate)
