"""Fine-tuning: naive training in which every task gets a fresh optimizer.

The naive learners of `tagjax.methods.naive` keep one optimizer state for the whole stream; many
codes make a new optimizer for each task instead, which restarts momentum, second moments and
learning rate schedules.
"""

import chex
import jax
import jax.numpy as jnp
import optax

from tagjax.core.method import Boundary, Method, consolidates, lift
from tagjax.core.types import Batch
from tagjax.transforms import ScaleByTagState

_MUST_SURVIVE = {ScaleByTagState: "TAG's moments of past tasks", Batch: "a memory of examples"}


def fresh_each_task(optimizer: optax.GradientTransformation | Method) -> Method:
  """`optimizer`, with a state that starts anew when a task has ended.

  The update is that of `optimizer`, and nothing is added to it: the state is set to
  `optimizer.init(params)`, with the parameters of then, at the end of each task (of each phase, if
  there are several). A schedule of the learning rate therefore counts the steps of the task.

  Args:
    optimizer: an Optax transformation, or a method that keeps nothing from task to task. To make
      one member of a chain start anew, wrap that member only.

  Returns:
    The method; init, update, phases and diagnostics are those of `optimizer`.

  Raises:
    TypeError: if `optimizer` is neither.
    ValueError: if it is a method with a consolidation of its own (also a
      `tagjax.core.chain.chain`, whose members may have one), or, when the state is built, if that
      holds what must survive the task: TAG's moments, or a memory.

  Example:
    >>> import optax
    >>> from tagjax.core.method import Boundary
    >>> method = fresh_each_task(optax.sgd(0.1, momentum=0.9))
    >>> params = {"w": jnp.ones(2)}
    >>> state = jax.tree.map(jnp.ones_like, method.init(params))
    >>> at = Boundary(*[None] * len(Boundary._fields))
    >>> state, _ = method.consolidate(state, {"params": params}, at=at)
    >>> state[0].trace["w"].tolist()
    [0.0, 0.0]
  """
  inner = lift(optimizer)
  if consolidates(inner):
    raise ValueError(
      "optimizer has a consolidation of its own, whose state must survive the task: wrap only the "
      "optimizer, chain(method, fresh_each_task(optimizer))"
    )

  def init(params: chex.ArrayTree):
    state = inner.init(params)
    _check(state)
    # Some transformations keep params as they are, which a donated state must not.
    return jax.tree.map(jnp.copy, state)

  def consolidate(state, variables, *, at: Boundary):
    del state, at
    return init(variables["params"]), variables

  return inner._replace(init=init, consolidate=consolidate, num_boundary_examples=0)


def restarted(method: Method, state: chex.ArrayTree, params: chex.ArrayTree) -> chex.ArrayTree:
  """The state of `method` in which the optimizer starts anew, whatever it is chained with.

  Args:
    method: a method, or a chain.
    state: of it. What members keep from task to task stays, TAG's moments too.
    params: the parameters of then.
  """

  def choose(old, new):
    return old if _must_survive(old) else new

  return jax.tree.map(choose, state, method.restart(state, params), is_leaf=_must_survive)


def _must_survive(node: chex.ArrayTree) -> bool:
  return isinstance(node, tuple(_MUST_SURVIVE))


def _check(state: chex.ArrayTree) -> None:
  """Refuses a state that makes no sense without the past."""
  for node in jax.tree.leaves(state, is_leaf=_must_survive):
    for kind, what in _MUST_SURVIVE.items():
      if isinstance(node, kind):
        raise ValueError(
          f"optimizer keeps {what}, which must survive the task: wrap a plain optimizer instead"
        )
