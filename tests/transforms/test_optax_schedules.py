"""Optax's schedules by name are Optax's schedules."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.transforms.optax_schedules import optax_schedules
from tagjax.transforms.schedules import Progress, scale_by_task_schedule

TABLE = optax_schedules()
STEPS = 20
DROPS = {5: 0.5, 12: 0.1}
CYCLES = [
  {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 10},
  {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 2, "decay_steps": 10},
]
# Our options, and the same schedule by Optax's signature, all of it spelled out.
SAME = {
  "constant_schedule": ({"value": 0.5}, {"value": 0.5}),
  "cosine_decay_schedule": ({"alpha": 0.1}, {"init_value": 1, "decay_steps": 20, "alpha": 0.1}),
  "cosine_onecycle_schedule": ({}, {"transition_steps": 20, "peak_value": 1}),
  "exponential_decay": (
    {"decay_rate": 0.1},
    {"init_value": 1, "transition_steps": 20, "decay_rate": 0.1},
  ),
  "linear_onecycle_schedule": (
    {"pct_start": 0.2},
    {"transition_steps": 20, "peak_value": 1, "pct_start": 0.2},
  ),
  "linear_schedule": ({}, {"init_value": 1, "end_value": 0, "transition_steps": 20}),
  "piecewise_constant_schedule": (
    {"boundaries_and_scales": DROPS},
    {"init_value": 1, "boundaries_and_scales": DROPS},
  ),
  "piecewise_interpolate_schedule": (
    {"interpolate_type": "linear", "boundaries_and_scales": "{5: 0.5, 12: 0.1}"},
    {"interpolate_type": "linear", "init_value": 1.0, "boundaries_and_scales": DROPS},
  ),
  "polynomial_schedule": (
    {"power": 2.0, "transition_steps": 7},
    {"init_value": 1, "end_value": 0, "power": 2, "transition_steps": 7},
  ),
  "sgdr_schedule": ({"cosine_kwargs": str(CYCLES)}, {"cosine_kwargs": CYCLES}),
  "warmup_constant_schedule": (
    {"warmup_steps": 4},
    {"init_value": 0, "peak_value": 1, "warmup_steps": 4},
  ),
  "warmup_cosine_decay_schedule": (
    {"warmup_steps": 4, "end_value": 0.1},
    {"init_value": 0, "peak_value": 1, "warmup_steps": 4, "decay_steps": 20, "end_value": 0.1},
  ),
  "warmup_exponential_decay_schedule": (
    {"warmup_steps": 4, "decay_rate": 0.5, "transition_steps": 3},
    {
      "init_value": 0,
      "peak_value": 1,
      "warmup_steps": 4,
      "transition_steps": 3,
      "decay_rate": 0.5,
    },
  ),
}


def progress(num_steps=STEPS, longest=STEPS):
  return Progress(jnp.arange(num_steps), num_steps, 0, 5, longest)


def test_the_table_is_optaxs():
  assert TABLE.keys() == SAME.keys()


@pytest.mark.parametrize("name", SAME)
def test_schedule_is_optaxs(name):
  ours, theirs = SAME[name]
  schedule, reference = TABLE[name](**ours), getattr(optax, name)(**theirs)
  expected = np.array([reference(step) for step in range(STEPS)])
  found = np.array([schedule(progress()._replace(step=step)) for step in range(STEPS)])
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  if name != "constant_schedule":
    assert np.ptp(found) > 0.1


def test_schedule_is_stretched_over_tasks_of_different_lengths():
  transform = scale_by_task_schedule(TABLE["linear_schedule"](), [4, 8], 2)

  def one(state, task_id):
    update, state = transform.update(jnp.ones(()), state, task_id=task_id)
    return state, update

  _, found = jax.lax.scan(one, transform.init(None), jnp.repeat(jnp.arange(2), 4))
  np.testing.assert_allclose(found[:4], [1, 0.75, 0.5, 0.25], rtol=1e-6)
  np.testing.assert_allclose(found[4:], [1, 0.875, 0.75, 0.625], rtol=1e-6)


def test_options_show_in_the_signature():
  assert str(inspect.signature(TABLE["cosine_decay_schedule"])) == (
    "(init_value: float = 1.0, *, decay_steps: int | None = None, alpha: float = 0.0, "
    "exponent: float = 1.0)"
  )
  assert "decay_steps:" in TABLE["cosine_decay_schedule"].__doc__


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("exponential_decay", {}, "exponential_decay needs decay_rate: a number$"),
    ("sgdr_schedule", {}, "sgdr_schedule needs cosine_kwargs"),
    ("linear_schedule", {"end_value": "low"}, "end_value of linear_schedule must be a number"),
    (
      "piecewise_constant_schedule",
      {"boundaries_and_scales": "{5: }"},
      "boundaries_and_scales of piecewise_constant_schedule must be .*got '{5: }'",
    ),
  ],
)
def test_bad_options(name, options, message):
  with pytest.raises(ValueError, match=message):
    TABLE[name](**options)


def test_optaxs_own_checks_come_before_the_run():
  schedule = TABLE["piecewise_interpolate_schedule"](interpolate_type="cubic")
  with pytest.raises(ValueError, match="interpolate_type"):
    scale_by_task_schedule(schedule, [4], 2)


def test_a_misspelt_option_is_answered():
  with pytest.raises(TypeError, match=r"no option 'alhpa' \(did you mean alpha\?\)"):
    TABLE["cosine_decay_schedule"](alhpa=0.1)
