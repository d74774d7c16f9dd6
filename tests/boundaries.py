"""Task ends by themselves: chunks, consolidation, and a small network's Jacobian in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers import TinyModel, examples, programs, spec

from tagjax.core.chain import chain
from tagjax.core.method import lift
from tagjax.core.types import Batch
from tagjax.engine.learner import make_learner
from tagjax.input_pipeline import device_examples


def chunk(stream, task, size=23, batch_size=4) -> Batch:
  """All examples of a task as a method sees them, `[N, B, ...]`; padding (of value 9) last."""
  data = examples(stream, task, size)
  missing = -size % batch_size

  def pad(array):
    widths = ((0, missing),) + ((0, 0),) * (array.ndim - 1)
    array = np.pad(array, widths, constant_values=9 if array.ndim > 1 else 0)
    return jnp.asarray(array.reshape(-1, batch_size, *array.shape[1:]))

  index = np.arange(size, dtype=np.int32)
  return Batch(*map(pad, data), mask=pad(np.ones(size, bool)), index=pad(index))


def consolidated(method, stream, tasks, *, model=None, size=23, batch_size=4, **options):
  """Ends the given tasks one after another, with other parameters each time.

  Returns:
    The learner's state after each; the parameters in it are those that the task ended with.
  """
  learner = make_learner(model or TinyModel(stream.num_outputs), method, stream, **options)
  consolidate = jax.jit(learner.consolidate, static_argnames="phase")
  state = jax.jit(learner.init)(jax.random.key(0))
  states = []
  for task in tasks:
    params = jax.tree.map(
      lambda p, t=task: p + 0.3 * np.random.default_rng([p.size, t]).normal(size=p.shape),
      state.variables["params"],
    )
    params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    state = state._replace(variables={**state.variables, "params": params})
    state = consolidate(
      state, chunk(stream, task, size, batch_size), jnp.int32(task), phase="train"
    )
    states.append(state)
  return states


def inputs(stream, task, size=23):
  """Images of a task as the model sees them, float64 `[n, D]`, and labels."""
  data = examples(stream, task, size)
  return data.image.reshape(size, -1) / 255.0, data.label


def two_layers(params, x):
  """`TinyModel` in float64.

  Returns:
    Hidden units `[n, H]` before the ReLU, logits `[n, K]`, and `∂ z_k / ∂p` of each parameter,
    `[n, K, *p.shape]`, in a tree like params.
  """
  params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
  (w, b), (v, c) = ((params[name]["kernel"], params[name]["bias"]) for name in sorted(params))
  before = x @ w + b
  hidden = np.maximum(before, 0)
  logits = hidden @ v + c
  eye = np.broadcast_to(np.eye(len(c)), (len(x), len(c), len(c)))
  to_hidden = v.T[None] * (before > 0)[:, None, :]
  jacobian = {
    "Dense_0": {"kernel": np.einsum("ni,nkh->nkih", x, to_hidden), "bias": to_hidden},
    "Dense_1": {"kernel": np.einsum("nh,nkc->nkhc", hidden, eye), "bias": eye},
  }
  return before, logits, jacobian


def assert_close(actual, expected, **tolerance):
  """Compares two trees, with the rounding of float32 sums by default."""
  tolerance = {"rtol": 2e-5, "atol": 1e-6} | tolerance
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, **tolerance), actual, expected)


def trajectory(method, stream, *, size=24, batch_size=8, **options):
  """Trains one epoch of each task; parameters and method state after each, as NumPy arrays."""
  run = programs(stream, method, batch_size=batch_size, **options)
  state, after = run.init(jax.random.key(0)[None]), []
  for task in range(stream.num_tasks):
    data = device_examples.to_device(examples(stream, task, size), size)
    state, _ = run.train(state, data, task, task, 0, size // batch_size, phase="train")
    state = run.consolidate(state, data, task, phase="train")
    # Copied: the state is donated to the next call.
    after.append(jax.tree.map(np.array, (state.variables["params"], state.method)))
  assert all(count == 1 for count in run.traces.values())
  return after


@functools.cache
def _naive(num_tasks):
  return trajectory(lift(optax.sgd(0.1)), spec(num_tasks=num_tasks))


def assert_regulariser_is_sound(make, num_tasks=3, atol=1e-6):
  """What must hold of every quadratic regulariser `make(strength)` in the compiled loop.

  A strength of 0 leaves the updates as they are; the first task is not regularised and later
  ones are; every task changes the importance; the anchor is the last parameters; several devices
  hold the same state, that of one device; nothing is compiled twice.
  """
  updates = {"w": jnp.array([1.0, -0.0])}
  off = make(0.0)
  assert off.update(updates, off.init(updates), updates, at=None)[0] is updates

  stream, naive = spec(num_tasks=num_tasks), _naive(num_tasks)
  on = trajectory(chain(make(50.0), optax.sgd(0.1)), stream)
  assert_close(on[0][0], naive[0][0], atol=1e-6)
  last, free = jax.tree.leaves(on[-1][0]), jax.tree.leaves(naive[-1][0])
  assert max(np.abs(a - b).max() for a, b in zip(last, free, strict=True)) > 1e-4
  importances = [jax.tree.leaves(state[0].importance) for _, state in on]
  for old, new in zip(*importances[-2:], strict=True):
    assert np.isfinite(new).all()
    assert (new >= 0).all()
    assert np.abs(new - old).max() > 1e-6
  for params, (state, _) in on:
    jax.tree.map(np.testing.assert_array_equal, state.anchor, params)

  four = trajectory(chain(make(50.0), optax.sgd(0.1)), stream, num_devices=4)[-1]
  for replica in range(1, 4):
    jax.tree.map(lambda leaf, r=replica: np.testing.assert_array_equal(leaf[r], leaf[0]), four)
  one_of_four = jax.tree.map(lambda leaf: leaf[0], four)
  assert_close(one_of_four, on[-1], rtol=1e-3, atol=atol)
