"""Online EWC with a running Fisher of the training steps: the variant `"agem"` of `ewc`.

    squares <- squares + g^2                                                 in every step
    fisher  <- decay fisher + (1 - decay) squares / n;   squares <- 0        every N steps
    importance <- (fisher - min) / (max - min)                               at a task's end

g is the gradient of a batch's mean loss alone, n the steps since the last time.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary, Method, Step
from tagjax.methods import quadratic
from tagjax.transforms.checks import check_count


class OnlineEwcState(NamedTuple):
  """What online EWC keeps between steps; trees are like params.

  Attributes:
    importance: float32 or wider, the normalised Fisher, in [0, 1]; 0 in the first task.
    anchor: the parameters at the end of the last task.
    fisher: float32 or wider, F, the running diagonal of the empirical Fisher; goes on over tasks.
    squares: float32 or wider, squared gradients, summed since the last refresh.
    steps: int32 scalar, steps taken since the last refresh.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  fisher: chex.ArrayTree
  squares: chex.ArrayTree
  steps: chex.Array


def online_ewc(
  strength: quadratic.Strength,
  *,
  decay: float,
  clip: float | None,
  update_every: int,
  legacy: bool,
) -> Method:
  """See `tagjax.methods.ewc`, variant `"agem"`; the arguments are checked there.

  Raises:
    ValueError: if `update_every` is less than 1.
  """
  check_count("update_every", update_every)
  # The reference counts the step that it is about to take as taken.
  start = 1 if legacy else 0

  def new_task(params, importance, fisher) -> OnlineEwcState:
    steps = jnp.asarray(start, jnp.int32)
    anchor, squares = quadratic.copy(params), quadratic.zeros(params)
    return OnlineEwcState(importance, anchor, fisher, squares, steps)

  def refresh(state: OnlineEwcState) -> OnlineEwcState:
    def move(fisher, squares):
      count = update_every if legacy else state.steps.astype(fisher.dtype)
      return decay * fisher + (1 - decay) * squares / count

    return state._replace(
      fisher=jax.tree.map(move, state.fisher, state.squares),
      squares=jax.tree.map(jnp.zeros_like, state.squares),
      steps=jnp.zeros((), jnp.int32),
    )

  def refreshed_if(due, state: OnlineEwcState) -> OnlineEwcState:
    return jax.lax.cond(due, refresh, lambda state: state, state)

  def init(params):
    return new_task(params, quadratic.zeros(params), quadratic.zeros(params))

  def update(updates, state: OnlineEwcState, params, *, at: Step):
    state = refreshed_if(state.steps == update_every, state)
    squares = jax.tree.map(
      lambda total, g: total + jnp.square(g.astype(total.dtype)), state.squares, at.grad
    )
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state._replace(squares=squares, steps=state.steps + 1)

  def consolidate(state: OnlineEwcState, variables, *, at: Boundary):
    del at
    if not legacy:
      state = refreshed_if(state.steps > 0, state)
    importance = quadratic.min_max(state.fisher)
    return new_task(variables["params"], importance, state.fisher), variables

  return Method(init, update, consolidate, num_boundary_examples=0)
