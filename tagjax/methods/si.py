"""Synaptic intelligence (SI): importance from how much each parameter lowered the loss on its way.

Also home of the path that SI and RWalk share: both weigh the gradient with the step that the
parameters really took, which a method that stands before the optimizer does not see. It is made up
for at the next update, from the parameters of then.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary, Method, Step, identity
from tagjax.core.register import register
from tagjax.methods import quadratic
from tagjax.transforms.checks import check_range, is_off


class LastStep(NamedTuple):
  """Where the last step began, kept until the next update shows where it led.

  Attributes:
    params: tree like params, a copy of the parameters before the step.
    gradient: tree like params, the task's gradient there; 0 where no step is waiting.
  """

  params: chex.ArrayTree
  gradient: chex.ArrayTree


class SiState(NamedTuple):
  """State of `si`; all trees like params.

  Attributes:
    importance: float32 or wider, Omega, summed over the tasks that have ended.
    anchor: the parameters at the end of the last task (at first, the initial ones).
    path: float32 or wider, omega, the task's loss decrease so far, a share for each parameter.
    last: the step that `path` does not contain yet.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  path: chex.ArrayTree
  last: LastStep


def no_step(params: chex.ArrayTree) -> LastStep:
  """No step is waiting: a gradient of 0 adds nothing to a path, wherever `params` go next."""
  return LastStep(quadratic.copy(params), jax.tree.map(jnp.zeros_like, params))


def take_step(params: chex.ArrayTree, gradient: chex.ArrayTree) -> LastStep:
  """The step that is about to be taken from `params`, where the task has `gradient`."""
  return LastStep(quadratic.copy(params), gradient)


def follow(path: chex.ArrayTree, last: LastStep, params: chex.ArrayTree) -> chex.ArrayTree:
  """`path - gradient * (params - params before)`: the path with the last step in it.

  >>> start = {"w": jnp.array([1.0, 2.0])}
  >>> last = take_step(start, {"w": jnp.array([1.0, -1.0])})
  >>> follow(quadratic.zeros(start), last, {"w": jnp.array([0.5, 2.5])})["w"].tolist()
  [0.5, 0.5]
  """

  def leaf(total, before, gradient, now):
    return total - gradient.astype(total.dtype) * (now - before).astype(total.dtype)

  return jax.tree.map(leaf, path, last.params, last.gradient, params)


@register("si", kind="modifier", traced=("strength", "damping"))
def si(strength: float = 0.1, *, damping: float = 1e-3, clip: float | None = None) -> Method:
  """SI: pulls each parameter to its value after the last task, by its share in the loss decrease.

  In each step, with `g` the gradient of the task's loss alone (no penalty, no replay) and `step`
  the change that the parameters really undergo, whatever follows in the chain:

      path    <- path - g * step
      update  =  g + 2 strength importance (params - anchor)

  and at the end of each task

      importance <- importance + max(path, 0) / (damping + (params - anchor)^2)
      path       <- 0
      anchor     <- params

  For small rates the path sums to the decrease of the loss over the task. It stands before the
  optimizer and sees each step at the next update, the last one of a task at its end; what the
  methods of the chain do to the parameters between two tasks does not count as a step.

  State: four trees like params and one gradient, see `SiState`. The first task feels no pull.

  Args:
    strength: weight of the penalty, at least 0 (no factor 1/2); 0 does nothing, with no state.
    damping: xi, greater than 0, so that the importance of a parameter that hardly moved stays
      finite.
    clip: largest global L2 norm of the pull alone, greater than 0; None: no limit.

  Returns:
    The method, to stand before the optimizer.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> import optax
    >>> from tagjax.core.chain import chain
    >>> method = chain(si(0.1), optax.sgd(0.1))
    >>> method.init({"w": jnp.ones(2)})[0].importance["w"].tolist()
    [0.0, 0.0]

  References:
    Zenke, Poole, Ganguli. Continual Learning Through Synaptic Intelligence. ICML 2017.
    Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019
    (its code, where the method is called PI, is the reference).

  Differs from the reference code:
    * There the step is measured with assignments around the optimizer, here at the next update:
      the same values.
    * The pull can be clipped; by default it is not, as there.
  """
  quadratic.check(strength, clip)
  check_range("damping", damping, 0.0, math.inf, "(0, inf)")
  if is_off(strength):
    return identity()

  def init(params: chex.ArrayTree) -> SiState:
    return SiState(
      importance=quadratic.zeros(params),
      anchor=quadratic.copy(params),
      path=quadratic.zeros(params),
      last=no_step(params),
    )

  def update(updates, state: SiState, params, *, at: Step):
    state = state._replace(
      path=follow(state.path, state.last, params), last=take_step(params, at.grad)
    )
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state

  def consolidate(state: SiState, variables, *, at: Boundary):
    del at
    params = variables["params"]

    def grow(total, path, now, anchor):
      distance = now.astype(total.dtype) - anchor
      return total + jnp.maximum(path, 0) / (damping + distance * distance)

    path = follow(state.path, state.last, params)
    importance = jax.tree.map(grow, state.importance, path, params, state.anchor)
    return init(params)._replace(importance=importance), variables

  return Method(init, update, consolidate, num_boundary_examples=0)
