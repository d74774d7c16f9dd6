"""EWC: elastic weight consolidation, with the diagonal Fisher information as importance."""

from typing import Literal, NamedTuple, get_args

import chex
import jax
import jax.numpy as jnp

from tagjax.core import losses
from tagjax.core.method import Boundary, Method, identity
from tagjax.core.register import register
from tagjax.core.types import Batch, StreamSpec, Variables
from tagjax.methods import per_example, quadratic
from tagjax.methods.online_fisher import online_ewc
from tagjax.transforms.checks import check_choice, check_range, is_off

Variant = Literal["fixed", "tag-ref", "standard", "agem"]

_DECAY = {"standard": 1.0, "agem": 0.1}


class EwcState(NamedTuple):
  """What EWC keeps between steps.

  Attributes:
    importance: tree like params, float32 or wider: F, the diagonal Fisher information; starts at
      0.
    anchor: tree like params: a copy of them at the end of the last task.
    tasks: int32 scalar, ended tasks.
  """

  importance: chex.ArrayTree
  anchor: chex.ArrayTree
  tasks: chex.Array


@register("ewc", kind="modifier", traced=("strength",))
def ewc(
  strength: float = 1.0,
  *,
  variant: Variant = "fixed",
  examples: int | None = 200,
  decay: float | Literal["auto"] = "auto",
  update_every: int = 50,
  clip: float | Literal["auto"] | None = "auto",
  legacy: bool = False,
  spec: StreamSpec | None = None,
) -> Method:
  """EWC: pulls each parameter to its value after the last task, as hard as the loss depends on it.

      updates += clip_by_norm(2 · strength · F · (params - anchor), clip)

  There is no factor 1/2 in the penalty `strength Σ F (p - anchor)²`; papers that write
  `λ/2 Σ F (p - anchor)²` mean `strength = λ/2`. After task t, counted from 1:

  - `"fixed"`: `F ← (F + t g²) / (t + 1)`, with g the gradient of the mean loss of up to `examples`
    examples of the task: the formula of TAG's code, with the right mask.
  - `"tag-ref"`: the same with the mask of that code, which is the next task's: the reported
    numbers were made with it. The error at the logits is
    `softmax over the outputs of task t + 1 - one-hot label`, as of a classifier that is always
    wrong; after the last task the softmax is uniform over all outputs.
  - `"standard"`: `F ← decay F + mean_i g_i²`, with g_i the gradient of example i: the diagonal of
    the empirical Fisher information. `decay = 1` sums over tasks, less is online EWC.
  - `"agem"`: online EWC as A-GEM's repository has it, of the training steps themselves. F is the
    running mean of squared gradients of batches, refreshed every `update_every` steps and at the
    end of a task, and the penalty takes it normalised: its least entry of the network is 0, its
    largest 1. See `tagjax.methods.online_fisher`.

  But for the last variant, the loss is the cross-entropy over the active outputs, in evaluation
  mode; labels are the true ones. The first task is not regularised. The state is two trees of the
  size of the parameters (`"agem"`: four), whatever the number of tasks; only the newest anchor is
  kept.

  Args:
    strength: lambda, weight of the penalty, at least 0. 0 gives a method that does nothing.
    variant: how F is made: `"fixed"`, `"tag-ref"`, `"standard"` or `"agem"`; see
      `tagjax.methods.ewc`.
    examples: the most examples of a task that F is made from, at least 1; None: all. Not `"agem"`.
    decay: share of the old F that is kept, in [0, 1]; `"standard"` and `"agem"` only. `"auto"`: 1
      in the one, 0.1 in the other.
    update_every: steps between two refreshes of F, at least 1, in `"agem"`; its repository takes 10
      for permuted MNIST, else 50.
    clip: largest global L2 norm of the pull, greater than 0; the task's gradient is not clipped.
      None: no limit.
      `"auto"`: 100 as in TAG's code, and no limit in `"standard"` and `"agem"`.
    legacy: for `"agem"`, what the reference code does instead: the first refresh of a task comes
      after `update_every - 1` steps and divides by `update_every`, and steps after the last one are
      lost. Tasks of fewer steps, such as CUB's 30, leave F as it was, and nothing is protected.
    spec: the stream's head; needed by `"tag-ref"`.

  Returns:
    The method; its state is an `EwcState`, or `tagjax.methods.online_fisher.OnlineEwcState`.

  Raises:
    ValueError: if an argument is out of range, if `decay` or `legacy` is given to a variant that
      has none, or if `"tag-ref"` is asked for without a `spec` whose scenario is `"task"`.

  Differs from the reference code: minibatches of the consolidation are drawn from all examples of
  the task, and a clipped pull has the norm `clip` exactly (PyTorch adds 1e-6 to the norm).

  References:
    Kirkpatrick et al. Overcoming catastrophic forgetting in neural networks. PNAS 2017.
    Malviya, Ravindran, Chandar. TAG: Task-based Accumulated Gradients for Lifelong Learning.
    CoLLAs 2022 (`"fixed"`, `"tag-ref"`).
    Schwarz et al. Progress & Compress. ICML 2018 (`decay`).
    Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019, its
    code (`"agem"`).

  >>> import optax
  >>> from tagjax.core.chain import chain
  >>> method = chain(ewc(10.0), optax.sgd(0.1))
  >>> float(method.init({"w": jnp.ones(2)})[0].importance["w"].sum())
  0.0
  """
  if clip == "auto":
    clip = None if variant in _DECAY else 100.0
  if decay == "auto":
    decay = _DECAY.get(variant, 1.0)
  _check(strength, variant, examples, decay, clip, legacy, spec)
  if is_off(strength):
    return identity()
  if variant == "agem":
    return online_ewc(strength, decay=decay, clip=clip, update_every=update_every, legacy=legacy)

  def init(params):
    return EwcState(quadratic.zeros(params), quadratic.copy(params), jnp.zeros((), jnp.int32))

  def update(updates, state, params, *, at):
    del at
    updates = quadratic.add_pull(
      updates, params, state.importance, state.anchor, strength=strength, clip=clip
    )
    return updates, state

  def consolidate(state, variables, *, at):
    chunk = per_example.first_examples(at.chunk, examples)
    if variant == "standard":
      new = _mean_of_squares(at, variables, chunk)
      importance = jax.tree.map(lambda f, n: decay * f + n, state.importance, new)
    else:
      objective = _loss(at) if variant == "fixed" else _next_task_loss(at, spec)
      new = _square_of_mean(per_example.gradient(at, variables, objective), chunk)
      number = (state.tasks + 1).astype(jnp.float32)
      importance = jax.tree.map(
        lambda f, n: ((f + number * n) / (number + 1)).astype(f.dtype), state.importance, new
      )
    anchor = quadratic.copy(variables["params"])
    return EwcState(importance, anchor, state.tasks + 1), variables

  return Method(init, update, consolidate, num_boundary_examples=examples)


def _mean_of_squares(at: Boundary, variables: Variables, chunk: Batch) -> chex.ArrayTree:
  gradient = per_example.gradient(at, variables, _loss(at))
  return per_example.mean_over_examples(gradient, chunk, of=jnp.square)


def _square_of_mean(gradient: per_example.BatchFunction, chunk: Batch) -> chex.ArrayTree:
  # In evaluation mode rows do not meet: the batches' sums add up to the gradient of one batch.
  total = per_example.sum_over_batches(gradient, chunk)
  return jax.tree.map(jnp.square, per_example.divide_by_count(total, chunk))


def _loss(at: Boundary):
  """The sum of the valid rows' losses."""

  def objective(logits, batch):
    values = losses.cross_entropy(logits, batch.label, at.active_fn(batch))
    return jnp.sum(jnp.where(batch.mask, values, 0))

  return objective


def _next_task_loss(at: Boundary, spec: StreamSpec):
  """A stand-in for the sum of the losses under the next task's mask, with the same gradient.

  In the reference code the masked logits are overwritten behind the differentiation's back: the
  error reaches the true logit although its value is the fill. The loss itself, about 1e11, is of
  no use in float32.
  """
  following = jnp.concatenate(
    [jnp.asarray(spec.classes)[1:], jnp.zeros((1, spec.num_outputs), bool)]
  )

  def objective(logits, batch):
    active = jnp.broadcast_to(following[at.task_id], logits.shape)
    filled = jnp.where(active, logits, jnp.asarray(-1e11, logits.dtype))
    error = jax.nn.softmax(filled) - jax.nn.one_hot(batch.label, spec.num_outputs)
    values = jnp.sum(jax.lax.stop_gradient(error) * logits, axis=-1)
    return jnp.sum(jnp.where(batch.mask, values, 0))

  return objective


def _check(strength, variant, examples, decay, clip, legacy, spec) -> None:
  quadratic.check(strength, clip)
  check_choice("variant", variant, get_args(Variant))
  per_example.check_examples(examples)
  check_range("decay", decay, 0, 1, "[0, 1]")
  if variant not in _DECAY and decay != 1:
    raise ValueError(f'decay={decay} has no effect on variant={variant!r}: use "standard", or 1')
  if legacy and variant != "agem":
    raise ValueError(f'legacy=True has no effect on variant={variant!r}: use "agem", or False')
  if variant == "tag-ref" and (spec is None or spec.scenario != "task"):
    scenario = None if spec is None else spec.scenario
    raise ValueError(
      'variant="tag-ref" needs a spec of scenario "task" (tasks have blocks of outputs), '
      f'got scenario {scenario!r}: use variant="fixed"'
    )
