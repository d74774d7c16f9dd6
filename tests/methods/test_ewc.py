"""EWC's importances against NumPy in float64, and what must hold in the loop."""

import boundaries
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.method import Step
from tagjax.methods.ewc import EwcState, ewc

STREAM = helpers.spec()
SIZE = 23


def softmax(logits):
  shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
  return shifted / shifted.sum(axis=1, keepdims=True)


def gradients(params, task, active, examples=SIZE):
  """Gradient of each example's loss, `[n, *p.shape]`, with the softmax over `active` only."""
  x, label = (rows[:examples] for rows in boundaries.inputs(STREAM, task, SIZE))
  _, logits, jacobian = boundaries.two_layers(params, x)
  error = softmax(np.where(active, logits, -1e11)) - np.eye(STREAM.num_outputs)[label]
  return jax.tree.map(lambda j: np.einsum("nk,nk...->n...", error, j), jacobian)


def states(tasks=(0, 1, 2), **options):
  return boundaries.consolidated(ewc(1.0, **options), STREAM, tasks)


def params_of(state):
  return state.variables["params"]


@pytest.mark.parametrize("variant", ["fixed", "tag-ref"])
@pytest.mark.parametrize("examples", [200, 10])
def test_importance_of_the_gradient_of_the_mean(variant, examples):
  sequence = states(variant=variant, examples=examples, spec=STREAM)
  expected = jax.tree.map(np.zeros_like, params_of(sequence[0]))
  following = np.concatenate([STREAM.classes[1:], np.zeros((1, STREAM.num_outputs), bool)])
  for task, state in enumerate(sequence):
    active = (STREAM.classes if variant == "fixed" else following)[task]
    grads = gradients(params_of(state), task, active, examples)
    number = task + 1
    expected = jax.tree.map(
      lambda f, g, t=number: (f + t * g.mean(axis=0) ** 2) / (t + 1), expected, grads
    )
    boundaries.assert_close(state.method.importance, expected, rtol=1e-4, atol=1e-7)
    jax.tree.map(np.testing.assert_array_equal, state.method.anchor, params_of(state))
    assert state.method.tasks == number


def test_after_the_last_task_the_reference_sees_a_uniform_softmax():
  """All outputs are masked: no output stands out, and the error is 1/K at all but the label."""
  state = states([2], variant="tag-ref", spec=STREAM)[0]
  _, label = boundaries.inputs(STREAM, 2, SIZE)
  error = 1 / STREAM.num_outputs - np.eye(STREAM.num_outputs)[label]
  actual = state.method.importance["Dense_1"]["bias"]
  np.testing.assert_allclose(actual, error.mean(axis=0) ** 2 / 2, rtol=1e-5)


@pytest.mark.parametrize(("decay", "examples"), [(1.0, None), (0.4, 10)])
def test_importance_of_single_examples(decay, examples):
  sequence = states(variant="standard", decay=decay, examples=examples)
  expected = jax.tree.map(np.zeros_like, params_of(sequence[0]))
  for task, state in enumerate(sequence):
    grads = gradients(params_of(state), task, STREAM.classes[task], examples)
    expected = jax.tree.map(lambda f, g: decay * f + np.mean(g**2, axis=0), expected, grads)
    boundaries.assert_close(state.method.importance, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("variant", ["fixed", "standard"])
def test_outputs_of_other_tasks_have_no_importance(variant):
  head = states([1], variant=variant)[0].method.importance["Dense_1"]
  active = STREAM.classes[1]
  for leaf in head.values():
    assert (np.asarray(leaf)[..., ~active] == 0).all()
    assert (np.asarray(leaf)[..., active] > 0).any()


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_other_scenarios_take_their_own_outputs(scenario):
  stream = helpers.spec(scenario)
  bias = boundaries.consolidated(ewc(1.0), stream, [1])[0].method.importance["Dense_1"]["bias"]
  active = 4 if scenario == "class" else stream.num_outputs
  np.testing.assert_array_equal(np.asarray(bias) > 0, np.arange(stream.num_outputs) < active)


@pytest.mark.parametrize(
  ("options", "norm"),
  [({}, 100.0), ({"clip": 3.0}, 3.0), ({"variant": "standard"}, None), ({"clip": None}, None)],
)
def test_the_pull_is_clipped_and_the_gradient_is_not(options, norm):
  strength = 1e6
  method = ewc(strength, **options)
  anchor = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}
  state = EwcState(jax.tree.map(lambda a: 1e-3 * a, anchor), anchor, jnp.int32(1))
  params = jax.tree.map(lambda a: a + 1.0, anchor)
  gradient = jax.tree.map(lambda a: jnp.full_like(a, 1e3), anchor)
  updates, _ = method.update(gradient, state, params, at=None)
  pull = jax.tree.map(lambda u: u.astype(np.float64) - 1e3, jax.tree.map(np.asarray, updates))
  length = 2e3 * np.sqrt(16)
  scale = 1.0 if norm is None else norm / length
  expected = jax.tree.map(lambda a: scale * 2e3 * np.asarray(a), anchor)
  boundaries.assert_close(pull, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", ["fixed", "standard", "agem"])
def test_in_the_loop(variant):
  boundaries.assert_regulariser_is_sound(
    lambda strength: ewc(strength, variant=variant, update_every=2), atol=1e-5
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strength": -1}, "strength must be"),
    (
      {"variant": "online"},
      "variant must be one of 'fixed', 'tag-ref', 'standard', 'agem', got 'online'",
    ),
    ({"examples": 0}, "examples must be"),
    ({"clip": 0}, "clip must be"),
    ({"decay": 1.1, "variant": "standard"}, r"decay must be a number in \[0, 1\], got 1.1"),
    ({"decay": 0.5}, "decay=0.5 has no effect on variant='fixed'"),
    ({"legacy": True}, "legacy=True has no effect on variant='fixed'"),
    ({"update_every": 0, "variant": "agem"}, "update_every must be"),
    ({"variant": "tag-ref"}, 'needs a spec of scenario "task".*got scenario None'),
    ({"variant": "tag-ref", "spec": helpers.spec("class")}, "got scenario 'class'"),
    ({"variant": "tag-ref", "spec": helpers.spec("domain")}, "got scenario 'domain'"),
  ],
)
def test_wrong_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    ewc(**options)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_running_fisher_of_agem_step_by_step(legacy):
  """Tasks of 7 steps, a refresh every 3: what is left at a task's end counts, or is lost."""
  method = ewc(0.5, variant="agem", update_every=3, legacy=legacy)
  rng = np.random.default_rng(3)
  params, start = rng.normal(size=4), {"w": jnp.zeros(4)}
  state, fisher, importance, anchor = method.init(start), np.zeros(4), np.zeros(4), np.zeros(4)
  for _ in range(2):
    squares, since = np.zeros(4), 1 if legacy else 0
    for _ in range(7):
      if since == 3:
        fisher, squares, since = 0.1 * fisher + 0.9 * squares / 3, np.zeros(4), 0
      params, g = rng.normal(size=4), rng.normal(size=4)
      known = Step(**dict.fromkeys(Step._fields) | {"grad": {"w": jnp.float32(g)}})
      updates, state = method.update(known.grad, state, {"w": jnp.float32(params)}, at=known)
      np.testing.assert_allclose(
        updates["w"], g + importance * (params - anchor), rtol=1e-5, atol=1e-6
      )
      squares, since = squares + g**2, since + 1
    if not legacy:
      fisher = 0.1 * fisher + 0.9 * squares / since
    importance, anchor = (fisher - fisher.min()) / np.ptp(fisher), params
    state, _ = method.consolidate(state, {"params": {"w": jnp.float32(params)}}, at=None)
    np.testing.assert_allclose(state.fisher["w"], fisher, rtol=1e-5)
    np.testing.assert_allclose(state.importance["w"], importance, rtol=1e-4, atol=1e-6)
