"""Where trials lie: side by side, in turn, or each device its own; four CPU devices."""

import jax
import pytest

from tagjax.core.errors import ConfigError
from tagjax.engine.programs import Layout
from tagjax.training.options import RunOptions
from tagjax.training.placement import choose_layout


def layout(num_trials=1, most=None, *, convolutional=False, streamed=False, **options):
  return choose_layout(
    RunOptions(**options), num_trials, most, convolutional=convolutional, streamed=streamed
  )


def test_side_by_side_or_in_turn():
  assert layout(6, seed_axis="vmap") == Layout(6)
  assert layout(6, seed_axis="loop") == Layout(1)
  assert layout(1) == Layout(1)


def test_on_a_cpu_convolutions_go_in_turn():
  assert layout(6) == Layout(6)
  assert layout(6, convolutional=True) == Layout(1)
  assert layout(6, convolutional=True, seed_axis="vmap") == Layout(6)


@pytest.mark.parametrize(
  ("backend", "options", "expected"),
  [
    ("gpu", {"num_trials": 8}, Layout(8, 4, share_lanes=True)),
    ("gpu", {"num_trials": 8, "convolutional": True}, Layout(8, 4, share_lanes=True)),
    ("gpu", {"num_trials": 6}, Layout(6)),
    ("gpu", {"num_trials": 8, "data_parallel": 2}, Layout(8, 2)),
  ],
)
def test_on_accelerators_trials_go_to_the_devices_where_they_come_out_even(
  monkeypatch, backend, options, expected
):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  assert layout(**options) == expected


@pytest.mark.parametrize(
  ("num_trials", "most", "together"),
  [(12, 12, 12), (12, 5, 4), (12, 7, 6), (12, 1, 1), (7, 6, 1), (12, 100, 12)],
)
def test_groups_are_equally_large(num_trials, most, together):
  assert layout(num_trials, most, seed_axis="vmap").num_lanes == together


def test_devices_get_equal_parts_of_the_trials():
  assert layout(8, seed_axis="devices") == Layout(8, 4, share_lanes=True)
  assert layout(24, 12, seed_axis="devices") == Layout(12, 4, share_lanes=True)
  assert layout(8, 1, seed_axis="devices").num_lanes == 4  # one on each device at least


def test_devices_share_batches_and_state():
  assert layout(data_parallel=2) == Layout(1, 2)
  assert layout(data_parallel=2, shard_state=True) == Layout(1, 2, share_columns=True)


def test_streamed_images_are_for_one_trial_at_a_time():
  assert layout(6, streamed=True) == Layout(1)
  assert layout(1, streamed=True, seed_axis="vmap") == Layout(1)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"data_parallel": 5}, r"^data_parallel=5, but there are 4 devices .on a CPU, XLA_FLAGS"),
    (
      {"num_trials": 6, "seeds": 6, "seed_axis": "devices"},
      r"^seeds=6 cannot be shared out to 4 devices: choose a multiple, or seed_axis='vmap'$",
    ),
    (
      {"num_trials": 6, "seeds": 3, "seed_axis": "devices"},
      r"^seeds=3 at 2 points of the grid cannot be shared out to 4 devices",
    ),
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
