"""Where trials lie: side by side, in turn, or each device its own; four CPU devices."""

import jax
import pytest

from tagjax.core.errors import ConfigError
from tagjax.engine.layout import Layout
from tagjax.training.memory_estimate import UNLIMITED, Room
from tagjax.training.options import RunOptions
from tagjax.training.placement import choose_layout, describe


def layout(num_trials=1, room=UNLIMITED, *, streamed=False, **options):
  return choose_layout(RunOptions(**options), num_trials, room, streamed=streamed)


def test_side_by_side_or_one_after_another():
  assert layout(6, seed_axis="vmap") == Layout(6)
  assert layout(6, seed_axis="loop") == Layout(1)
  for axis in ("auto", "vmap", "loop", "devices"):
    assert layout(1, seed_axis=axis) == Layout(1)


@pytest.mark.parametrize("axis", ["auto", "devices"])
@pytest.mark.parametrize(
  ("backend", "num_trials", "devices"),
  # As many devices as have something to do: 5 trials are 2, 2 and 1.
  [("cpu", 8, 4), ("cpu", 5, 3), ("cpu", 3, 3), ("gpu", 8, 4), ("gpu", 5, 3), ("gpu", 3, 3)],
)
def test_trials_are_shared_out_to_all_devices(monkeypatch, axis, backend, num_trials, devices):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  turns = backend == "cpu" and num_trials > devices
  expected = Layout(num_trials, devices, share_lanes=True, in_turn=turns)
  assert layout(num_trials, seed_axis=axis) == expected
  assert expected.places - num_trials < expected.lanes_a_device


@pytest.mark.parametrize(("backend", "turns"), [("cpu", True), ("gpu", False)])
def test_one_device_or_a_shared_batch(monkeypatch, backend, turns):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  assert layout(8, data_parallel=2) == Layout(8, 2, in_turn=turns)
  assert layout(8, data_parallel=2, seed_axis="vmap") == Layout(8, 2)
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  assert layout(6) == Layout(6, in_turn=turns)


@pytest.mark.parametrize(
  ("num_trials", "most", "together"),
  [(12, 12, 12), (12, 5, 4), (12, 7, 6), (12, 1, 1), (7, 6, 4), (12, 100, 12)],
)
@pytest.mark.parametrize("axis", ["auto", "vmap"])
def test_groups_are_as_few_and_as_equal_as_can_be(axis, num_trials, most, together):
  found = layout(num_trials, seeds_together=most, seed_axis=axis)
  assert found.num_lanes == together
  assert found.num_devices == (1 if axis == "vmap" else {6: 3}.get(together, min(4, together)))


def test_trials_have_half_of_the_memory():
  own, one = (Room(1000, lane=50, examples=100, shared=shared) for shared in (False, True))
  assert [layout(99, own, seed_axis=axis).num_lanes for axis in ("vmap", "devices")] == [8, 25]
  assert layout(32, own).num_lanes == 32  # 8 on each of 4 devices
  # Three devices hold examples and a trial each, 166 bytes for a device.
  assert layout(99, one) == Layout(3, 3, share_lanes=True)
  assert layout(99, one, seed_axis="vmap") == Layout(8)
  assert layout(99, one, seeds_together=20).num_lanes == 20  # as asked for


def test_a_line_says_where_the_trials_are():
  assert describe(Layout(), 1, "seed") == ""
  assert describe(Layout(4, 4, True), 4, "seed") == "4 seeds on 4 devices"
  assert describe(Layout(1), 4, "seed") == "4 seeds, 1 at a time"
  assert describe(Layout(6, 2, in_turn=True), 6, "run") == "6 runs, in turn"


def test_devices_share_batches_and_state():
  assert layout(data_parallel=2) == Layout(1, 2)
  assert layout(data_parallel=2, shard_state=True) == Layout(1, 2, share_columns=True)


def test_streamed_images_are_for_one_trial_at_a_time():
  assert layout(6, streamed=True) == Layout(1)
  assert layout(1, streamed=True, seed_axis="vmap") == Layout(1)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"data_parallel": 5}, r"^data_parallel=5, but there are 4 devices .on a CPU, --cpu_devices=N"),
    (
      {"num_trials": 2, "streamed": True, "seed_axis": "vmap"},
      r"^seed_axis='vmap': the images of this stream are read while .*set seed_axis='loop'",
    ),
  ],
)
def test_what_the_machine_cannot_do_is_one_line(arguments, message):
  options = {"batch_size": 20} | arguments
  with pytest.raises(ConfigError, match=message) as error:
    layout(**options)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"seed_axis": "devices"}, r"^seed_axis='devices' works in one process, and 2 have been"),
    ({"data_parallel": 1}, r"^data_parallel=1 cannot be shared by 2 .*fit\(process=\(i, n\)\)$"),
    ({"data_parallel": 8}, r"^data_parallel=8 asks each of 2 processes for 4 devices.*has 2$"),
    (
      {"data_parallel": 4, "shard_state": True},
      r"^shard_state=True works in one process, and there are 2: .*accumulator_dtype='bfloat16'",
    ),
  ],
)
def test_several_processes_share_batches_only(monkeypatch, options, message):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(jax, "local_device_count", lambda: 2)
  with pytest.raises(ConfigError, match=message):
    layout(**{"batch_size": 8, **options})
