"""Schedules against closed forms in float64, and against Optax's schedules inside an optimizer."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.core.method import EpochStep
from tagjax.transforms import schedules, tag
from tagjax.transforms.schedules import Progress, scale_by_task_schedule

GRADS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def factors(transform, task_ids):
  """The factor of each step; all steps in one scan, so that task and state are traced."""

  def one(state, task_id):
    update, state = transform.update(jnp.ones(()), state, task_id=task_id)
    return state, update

  return jax.lax.scan(one, transform.init(None), jnp.asarray(task_ids, jnp.int32))[1]


def over_one_task(schedule, steps, per_epoch):
  return factors(scale_by_task_schedule(schedule, [steps], per_epoch), [0] * steps)


n = np.arange(12, dtype=np.float64)
CLOSED_FORMS = {
  "step": (schedules.step(every=2), 0.1 ** (n // 3 // 2)),
  "step at": (schedules.step(at=(1, 2), factor=0.2), 0.2 ** ((n >= 3) * 1.0 + (n >= 6))),
  "step at 0": (schedules.step(at=[0], factor=0.5), 0.5 + 0 * n),
  "cosine": (schedules.cosine(end=0.1), 0.1 + 0.9 * (1 + np.cos(np.pi * n / 12)) / 2),
  "cosine, warm": (
    schedules.cosine(warmup=1),
    np.where(n < 3, (n + 1) / 3, (1 + np.cos(np.pi * (n - 3) / 9)) / 2),
  ),
  "linear": (schedules.linear(), 1 - n / 12),
  "linear, warm": (
    schedules.linear(0.5, warmup=2),
    np.where(n < 6, (n + 1) / 6, 1 - 0.5 * (n - 6) / 6),
  ),
  "exponential": (schedules.exponential(1e-3), 1e-3 ** (n / 12)),
  "inverse time": (schedules.inverse_time(0.25), 1 / (1 + 0.25 * (n // 3))),
  "by task": (schedules.by_task((0.5,)), 0.5 + 0 * n),
  "product": (
    schedules.product(schedules.step(every=1, factor=0.5), schedules.linear()),
    0.5 ** (n // 3) * (1 - n / 12),
  ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
  schedule, expected = CLOSED_FORMS[name]
  np.testing.assert_allclose(over_one_task(schedule, 12, 3), expected, rtol=2e-6, atol=1e-7)


def test_a_task_starts_anew_and_lasts_as_long_as_its_steps():
  transform = scale_by_task_schedule(schedules.linear(), [4, 2, 5], [2, 1, 5])
  found = factors(transform, [0, 0, 0, 0, 1, 1, 0, 2, 2])
  expected = [1, 0.75, 0.5, 0.25, 1, 0.5, 1, 1, 0.8]  # task 0 comes again, and starts anew
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_epochs_of_a_task_are_its_own():
  transform = scale_by_task_schedule(schedules.step(every=1, factor=0.5), [4, 6], [2, 3])
  found = factors(transform, [0] * 4 + [1] * 6)
  np.testing.assert_allclose(found, [1, 1, 0.5, 0.5] + [1] * 3 + [0.5] * 3)


def test_the_stream_goes_on_in_steps_and_in_epochs():
  tasks, steps, epochs = [0] * 4 + [1] * 6 + [0] * 2, [4, 6], [2, 3]
  linear = scale_by_task_schedule(schedules.linear(), steps, epochs, over="stream")
  np.testing.assert_allclose(factors(linear, tasks[:10]), 1 - np.arange(10) / 10, rtol=1e-6)
  decay = scale_by_task_schedule(schedules.inverse_time(1.0), steps, epochs, over="stream")
  epoch = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4])
  np.testing.assert_allclose(factors(decay, tasks), 1 / (1 + epoch), rtol=1e-6)


def test_every_task_has_a_factor_of_its_own():
  both = schedules.product(schedules.step(at=(1,), factor=0.5), schedules.by_task((1.0, 0.25)))
  transform = scale_by_task_schedule(both, [4, 4], 2)
  expected = [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
  np.testing.assert_allclose(factors(transform, [0] * 4 + [1] * 4), expected)
  np.testing.assert_allclose(told(transform, walk([0, 1], [2, 2], [2, 2])), expected)


def test_an_epoch_that_was_left_halfway_has_ended():
  decay = scale_by_task_schedule(schedules.inverse_time(1.0), [4, 6], [3, 3], over="stream")
  epoch = np.array([0, 0, 0, 1, 2, 2])
  np.testing.assert_allclose(factors(decay, [0] * 4 + [1] * 2), 1 / (1 + epoch), rtol=1e-6)


def test_many_epochs_are_counted_exactly():
  transform = scale_by_task_schedule(schedules.step(every=54), [3906 * 100], 3906)
  state = transform.init(None)._replace(task_id=jnp.int32(0))
  for step, factor in ((3906 * 54 - 1, 1.0), (3906 * 54, 0.1)):
    found, _ = transform.update(jnp.ones(()), state._replace(step=jnp.int32(step)), task_id=0)
    np.testing.assert_allclose(found, factor, rtol=1e-6)


def told(transform, places, inner_steps=1):
  """The factor of each update where the loop tells `(task, visit, epoch, step, steps)`."""

  def one(state, place):
    task, visit, epoch, step, steps = place
    at = EpochStep(task, visit, task_epoch=epoch, epoch=0 * epoch, step=step, num_steps=steps)
    # Within an inner loop over tasks, `task_id` is the inner one.
    update, state = transform.update(jnp.ones(()), state, task_id=0 * task, epoch_step=at)
    return state, update

  places = jnp.repeat(jnp.asarray(places, jnp.int32), inner_steps, axis=0)
  return jax.lax.scan(one, transform.init(None), places)[1]


def walk(visits, steps, epochs):
  """The places of a loop through tasks, `steps` of an epoch of each and as many epochs."""
  return [
    (task, visit, epoch, step, steps[task])
    for visit, task in enumerate(visits)
    for epoch in range(epochs[task])
    for step in range(steps[task])
  ]


@pytest.mark.parametrize("over", ["task", "stream"])
@pytest.mark.parametrize("name", [name for name in CLOSED_FORMS if name != "by task"])
def test_being_told_is_counting_to_the_bit(name, over):
  schedule, _ = CLOSED_FORMS[name]
  steps, epochs = [3, 4], [4, 3]
  transform = scale_by_task_schedule(schedule, [12, 12], steps, over=over)
  places = walk([0, 1], steps, epochs)
  counted = factors(transform, [place[0] for place in places])
  np.testing.assert_array_equal(told(transform, places), counted)


def test_an_epoch_that_exemplars_lengthen_is_one_epoch():
  """Task 1 rehearses as many exemplars as it has examples: 6 steps, not 3."""
  places = walk([0, 1], [3, 6], [4, 4])
  epoch = np.repeat([0, 1, 2, 3] * 2, [3] * 4 + [6] * 4)
  drops = scale_by_task_schedule(schedules.step(at=(1, 2), factor=0.5), [12, 12], 3)
  np.testing.assert_allclose(told(drops, places), 0.5 ** np.minimum(epoch, 2), rtol=1e-6)
  x = np.concatenate([np.arange(12), np.arange(24) // 2]) / 12
  cosine = scale_by_task_schedule(schedules.cosine(), [12, 12], 3)
  np.testing.assert_allclose(told(cosine, places), (1 + np.cos(np.pi * x)) / 2, atol=1e-6)
  over = scale_by_task_schedule(schedules.linear(), [12, 12], 3, over="stream")
  x = np.concatenate([np.arange(12), 12 + np.arange(24) // 2]) / 24
  np.testing.assert_allclose(told(over, places), 1 - x, rtol=1e-6)


def test_inner_steps_have_the_factor_of_their_step():
  places = walk([0, 1], [2, 2], [2, 2])
  for over in ("task", "stream"):
    transform = scale_by_task_schedule(schedules.linear(), [4, 4], 2, over=over)
    thrice = told(transform, places, inner_steps=3)
    np.testing.assert_array_equal(thrice, np.repeat(told(transform, places), 3))


def test_cycles_through_all_tasks_are_one_stream():
  steps, visits = [2, 3], [0, 1, 0, 1]
  places = walk(visits, steps, [1, 2])
  options = {"over": "stream", "visits": visits}
  linear = scale_by_task_schedule(schedules.linear(), [2, 6], steps, **options)
  np.testing.assert_allclose(told(linear, places), 1 - np.arange(16) / 16, rtol=1e-6)
  decay = scale_by_task_schedule(schedules.inverse_time(1.0), [2, 6], steps, **options)
  epoch = np.repeat(np.arange(6), [2, 3, 3] * 2)
  np.testing.assert_allclose(told(decay, places), 1 / (1 + epoch), rtol=1e-6)


def test_tasks_that_come_again_go_on_with_the_stream():
  steps, visits = [2, 3, 1], [0, 1, 0, 1, 2]
  places = walk(visits, steps, [1, 2, 1])
  options = {"over": "stream", "visits": visits}
  linear = scale_by_task_schedule(schedules.linear(), [2, 6, 1], steps, **options)
  np.testing.assert_allclose(told(linear, places), 1 - np.arange(17) / 17, rtol=1e-6)


def trajectory(transform):
  def one(carry, grad):
    params, state = carry
    updates, state = transform.update(grad, state, params, task_id=jnp.int32(0))
    params = optax.apply_updates(params, updates)
    return (params, state), params

  params = jnp.array([1.0, -2.0, 0.5])
  transform = optax.with_extra_args_support(transform)
  return jax.lax.scan(one, (params, transform.init(params)), GRADS)[1]


OPTIMIZERS = {
  "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
  "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
  "adamw": lambda rate: optax.adamw(rate, weight_decay=0.1),
  "lion": lambda rate: optax.lion(rate, weight_decay=0.1),
  "rmsprop": optax.rmsprop,
  "lamb": optax.lamb,
  "tag": lambda rate: tag(rate, num_tasks=1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_factor_on_the_update_is_a_schedule_of_the_rate(name):
  inside = OPTIMIZERS[name](optax.cosine_decay_schedule(0.1, 12, alpha=0.2))
  after = scale_by_task_schedule(schedules.cosine(end=0.2), [12], 3)
  ours = trajectory(optax.chain(OPTIMIZERS[name](0.1), after))
  np.testing.assert_allclose(ours, trajectory(inside), rtol=2e-5, atol=1e-6)
  assert np.abs(ours - trajectory(OPTIMIZERS[name](0.1))).max() > 1e-3


def test_lars_sums_up_steps_and_is_not_the_same():
  inside = optax.lars(optax.linear_schedule(0.1, 0.0, 12))
  after = scale_by_task_schedule(schedules.linear(), [12], 3)
  ours = trajectory(optax.chain(optax.lars(0.1), after))
  assert np.abs(ours - trajectory(inside)).max() > 1e-6


def test_dtype_none_and_bits():
  transform = scale_by_task_schedule(schedules.step(every=9), [4], 2)
  updates = {"half": jnp.array([0.1, -0.0], jnp.bfloat16), "full": GRADS[0], "none": None}
  found, state = transform.update(updates, transform.init(None), task_id=0)
  assert found["half"].dtype == jnp.bfloat16
  assert found["none"] is None
  assert np.signbit(found["half"][1])
  np.testing.assert_array_equal(found["full"], updates["full"])
  assert jax.tree.structure(state) == jax.tree.structure(transform.init(None))
  assert all(leaf.dtype == jnp.int32 for leaf in state)


def test_traced_settings_and_several_learners_at_once():
  @jax.vmap
  def one(factor):
    transform = scale_by_task_schedule(schedules.step(every=1, factor=factor), [4], 2)
    return factors(transform, [0] * 4)

  found = one(jnp.array([0.5, 0.1]))
  np.testing.assert_allclose(found, [[1, 1, 0.5, 0.5], [1, 1, 0.1, 0.1]], rtol=1e-6)


def test_one_compilation_serves_the_stream():
  transform = scale_by_task_schedule(schedules.cosine(warmup=1), [4, 6], [2, 2])
  update = jax.jit(transform.update)
  state = transform.init(None)
  for task_id in (0, 0, 1, 0):
    _, state = update(GRADS[0], state, task_id=jnp.int32(task_id))
  assert update._cache_size() == 1


def test_a_task_that_does_not_exist_is_told():
  transform = scale_by_task_schedule(schedules.linear(), [4, 4], 2)
  with pytest.raises(ValueError, match="below num_tasks=2, got 2"):
    transform.update(GRADS[0], transform.init(None), task_id=2)
  with pytest.raises(TypeError, match="task_id=t"):
    transform.update(GRADS[0], transform.init(None))
  assert np.isnan(factors(transform, [0, 2])).tolist() == [False, True]


def test_a_schedule_of_ones_own_sees_the_progress():
  seen = []

  def own(where: Progress):
    seen.append(where)
    return where.step / where.num_steps

  transform = scale_by_task_schedule(own, [4, 8], 2)
  np.testing.assert_allclose(factors(transform, [1, 1, 0, 0]), [0, 1 / 8, 0, 1 / 4])
  assert [where.num_steps for where in seen[:2]] == [4, 8]  # the check before the run
  assert seen[-1].longest == 8


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"over": "epoch"}, "over must be one of 'task', 'stream', got 'epoch'"),
    ({"steps_per_task": []}, r"steps_per_task must be one integer for each task.*got \[\]"),
    ({"steps_per_task": 4}, "steps_per_task must be one integer for each task.*got 4"),
    ({"steps_per_task": [4, 0]}, r"steps_per_task must be integers of at least 1, got \[4, 0\]"),
    ({"steps_per_task": [2**31 - 1, 1]}, "counted in int32"),
    ({"steps_per_epoch": None}, "a schedule needs steps_per_epoch"),
    ({"steps_per_epoch": [2, 2, 2]}, "3 entries for 2 tasks"),
    ({"visits": [0.5]}, r"visits must be the tasks of the stays, integers, got \[0.5\]"),
    ({"visits": [0, 2]}, r"visits must be tasks from 0 to 1, got \[0, 2\]"),
    ({"schedule": schedules.by_task((1.0,))}, r"factors=\(1.0,\): .* one for each of the 2 tasks"),
    ({"schedule": 0.1}, "schedule must be a function of the Progress, got 0.1"),
    ({"schedule": lambda where: jnp.ones(2)}, r"must return a real scalar, got float32\(2,\)"),
    ({"schedule": schedules.cosine(warmup=2)}, "warmup=2 epochs are 4 of 4 steps"),
  ],
)
def test_bad_settings(options, message):
  good = {"schedule": schedules.linear(), "steps_per_task": [4, 8], "steps_per_epoch": 2}
  with pytest.raises(ValueError, match=message):
    scale_by_task_schedule(**good | options)


@pytest.mark.parametrize(
  ("make", "options", "message"),
  [
    (schedules.step, {}, "give one of them"),
    (schedules.step, {"every": 2, "at": (3,)}, "every=2, at=.* give one of them"),
    (schedules.step, {"every": 0}, "every must be an integer of at least 1, got 0"),
    (schedules.step, {"at": (1.5,)}, "at must be epochs"),
    (schedules.step, {"every": 1, "factor": -1.0}, "factor must be a number"),
    (schedules.cosine, {"end": -0.1}, "end must be a number"),
    (schedules.linear, {"warmup": 0.5}, "warmup must be a number of epochs.*got 0.5"),
    (schedules.exponential, {"end": 0.0}, "end must be a number"),
    (schedules.by_task, {}, "factors must be numbers of at least 0, one for each task"),
    (schedules.by_task, {"factors": (1.0, -1.0)}, "factors must be numbers of at least 0"),
    (schedules.inverse_time, {"decay": math.nan}, "decay must be a number"),
  ],
)
def test_bad_shapes(make, options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)
