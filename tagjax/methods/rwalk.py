"""Riemannian walk (RWalk): importance from a running Fisher and the loss gained on the path."""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from tagjax.core.method import Boundary, Method, Step, identity
from tagjax.core.register import register
from tagjax.methods import quadratic
from tagjax.methods.si import LastStep, follow, no_step, take_step
from tagjax.transforms.checks import check_count, check_range, is_off


class RwalkState(NamedTuple):
  """State of `rwalk`; trees are like params, float32 or wider where no parameters are kept.

  Attributes:
    importance: normalised Fisher plus normalised score, in [0, 2]; 0 in the first task.
    anchor: the parameters at the end of the last task (at first, the initial ones).
    fisher: F, the running diagonal of the empirical Fisher matrix; goes on over the tasks.
    score: the scores of the tasks that have ended, averaged.
    task_score: S, the score of the current task.
    squares: squared gradients, summed since the last refresh.
    path: the loss decrease since the last refresh, a share for each parameter.
    start: the parameters at the last refresh.
    last: the step that `path` and `squares` do not contain yet.
    steps: int32 scalar, steps taken since the last refresh.
    tasks: int32 scalar, tasks that have ended.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  fisher: chex.ArrayTree
  score: chex.ArrayTree
  task_score: chex.ArrayTree
  squares: chex.ArrayTree
  path: chex.ArrayTree
  start: chex.ArrayTree
  last: LastStep
  steps: chex.Array
  tasks: chex.Array


class _Options(NamedTuple):
  """The hyperparameters of `rwalk` that a refresh needs."""

  decay: float
  damping: float
  update_every: int
  legacy: bool


@register("rwalk", kind="modifier", traced=("strength", "decay", "damping"))
def rwalk(
  strength: float = 1.0,
  *,
  decay: float = 0.9,
  damping: float = 1e-3,
  update_every: int = 50,
  clip: float | None = None,
  legacy: bool = False,
) -> Method:
  """RWalk: pulls each parameter to its value after the last task, by Fisher information and score.

  In each step, with `g` the gradient of the task's loss alone (no penalty, no replay) and `step`
  the change that the parameters really undergo, whatever follows in the chain:

      path    <- path - g * step
      squares <- squares + g^2
      update  =  g + 2 strength importance (params - anchor)

  every `update_every` steps, and at the end of the task, with n the steps since the last time:

      task_score <- task_score + max(path, 0) / (damping + fisher (params - start)^2)
      fisher     <- (1 - decay) fisher + decay squares / n
      path, squares <- 0;   start <- params

  and then, at the end of the task only:

      score      <- task_score in the first task, (score + task_score) / 2 in the others
      importance <- norm(fisher) + norm(score),   norm(x) = (x - min x) / (max x - min x + 1e-32)
      task_score <- 0;   anchor <- params

  with minimum and maximum over the whole network. `g` is the gradient of a batch's mean loss. The
  method stands before the optimizer and sees each step at the next update, the last one of a task
  at its end; what other methods do to the parameters between two tasks is no step.

  State: eight trees like params, two copies of params more and one gradient, see `RwalkState`.

  Args:
    strength: weight of the penalty, at least 0 (no factor 1/2); 0 does nothing, with no state.
    decay: share of the newest squared gradients in the running Fisher, in (0, 1]: the paper's
      alpha, which its code calls so. 1 keeps nothing of the past.
    damping: added to a score's divisor, greater than 0; the score of a parameter that hardly moved
      stays finite.
    update_every: steps between two refreshes, at least 1; the reference implementation uses 10 for
      permuted MNIST, else 50.
    clip: largest global L2 norm of the pull alone, greater than 0; None: no limit.
    legacy: what the reference code does instead: squares are summed over the whole task and
      divided by `update_every`, there is no refresh at the task's end, and the first one comes
      after `update_every - 1` steps of the task; `score <- 1.5 score + 0.5 task_score` after the
      first task. Tasks of fewer steps leave no importance at all.

  Returns:
    The method, to stand before the optimizer.

  Raises:
    ValueError: for an argument out of range.

  Example:
    >>> import optax
    >>> from tagjax.core.chain import chain
    >>> method = chain(rwalk(1.0, update_every=10), optax.sgd(0.1))
    >>> int(method.init({"w": jnp.ones(2)})[0].steps)
    0

  References:
    Chaudhry, Dokania, Ajanthan, Torr. Riemannian Walk for Incremental Learning: Understanding
    Forgetting and Intransigence. ECCV 2018.
    Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019
    (its code is the reference).

  Differs from the reference code:
    * All that `legacy` switches on: the mean of old and new score is what the paper describes, the
      mean of squares is what a Fisher is, and short tasks must leave an importance.
    * There the step is measured with assignments around the optimizer, here at the next update:
      the same values.
  """
  quadratic.check(strength, clip)
  check_range("decay", decay, 0.0, 1.0, "(0, 1]")
  check_range("damping", damping, 0.0, math.inf, "(0, inf)")
  check_count("update_every", update_every)
  if is_off(strength):
    return identity()
  options = _Options(decay, damping, update_every, legacy)

  def init(params: chex.ArrayTree) -> RwalkState:
    importance, fisher, score = (quadratic.zeros(params) for _ in range(3))
    return _new_task(params, importance, fisher, score, jnp.zeros((), jnp.int32), options)

  def update(updates, state: RwalkState, params, *, at: Step):
    state = _advance(state, params)
    due = state.steps == update_every
    state = jax.lax.cond(due, lambda s: _refresh(s, params, options), lambda s: s, state)
    state = state._replace(last=take_step(params, at.grad), steps=state.steps + 1)
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state

  def consolidate(state: RwalkState, variables, *, at: Boundary):
    del at
    params = variables["params"]
    state = _advance(state, params)
    if not legacy:
      due = state.steps > 0
      state = jax.lax.cond(due, lambda s: _refresh(s, params, options), lambda s: s, state)
    score = _merge(state, legacy)
    importance = jax.tree.map(jnp.add, quadratic.min_max(state.fisher), quadratic.min_max(score))
    return _new_task(params, importance, state.fisher, score, state.tasks + 1, options), variables

  return Method(init, update, consolidate, num_boundary_examples=0)


def _new_task(params, importance, fisher, score, tasks, options: _Options) -> RwalkState:
  """The state at the start of a task whose first parameters are `params`."""
  return RwalkState(
    importance=importance,
    anchor=quadratic.copy(params),
    fisher=fisher,
    score=score,
    task_score=quadratic.zeros(params),
    squares=quadratic.zeros(params),
    path=quadratic.zeros(params),
    start=quadratic.copy(params),
    last=no_step(params),
    # The reference counts the step that it is about to take as taken.
    steps=jnp.asarray(1 if options.legacy else 0, jnp.int32),
    tasks=tasks,
  )


def _advance(state: RwalkState, params: chex.ArrayTree) -> RwalkState:
  """Adds the last step, which led to `params`, to the path and its gradient to the squares."""
  squares = jax.tree.map(
    lambda total, g: total + jnp.square(g.astype(total.dtype)), state.squares, state.last.gradient
  )
  return state._replace(path=follow(state.path, state.last, params), squares=squares)


def _refresh(state: RwalkState, params: chex.ArrayTree, options: _Options) -> RwalkState:
  """Turns path and squares since the last refresh into score and Fisher."""

  def grow(total, path, fisher, now, start):
    distance = (now - start).astype(total.dtype)
    return total + jnp.maximum(path, 0) / (options.damping + fisher * distance * distance)

  def move(fisher, squares):
    count = options.update_every if options.legacy else state.steps.astype(fisher.dtype)
    return (1 - options.decay) * fisher + options.decay * squares / count

  # The score is measured with the Fisher that was known while the path was walked.
  trees = (state.task_score, state.path, state.fisher, params, state.start)
  return state._replace(
    task_score=jax.tree.map(grow, *trees),
    fisher=jax.tree.map(move, state.fisher, state.squares),
    squares=state.squares if options.legacy else quadratic.zeros(params),
    path=quadratic.zeros(params),
    start=quadratic.copy(params),
    steps=jnp.zeros((), jnp.int32),
  )


def _merge(state: RwalkState, legacy: bool) -> chex.ArrayTree:
  """The score over the ended tasks, the current one among them."""

  def leaf(old, new):
    later = 1.5 * old + 0.5 * new if legacy else 0.5 * (old + new)
    return jnp.where(state.tasks == 0, new, later)

  return jax.tree.map(leaf, state.score, state.task_score)
