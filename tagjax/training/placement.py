"""Which trials train together and on which devices, as the options and the machine allow."""

import jax

from tagjax.core.errors import ConfigError
from tagjax.engine.layout import Layout
from tagjax.training.memory_estimate import UNLIMITED, Room
from tagjax.training.options import RunOptions, SeedAxis


def choose_layout(
  options: RunOptions,
  num_trials: int,
  room: Room = UNLIMITED,
  *,
  streamed: bool = False,
) -> Layout:
  """How the trials lie on the devices, see `RunOptions.seed_axis`.

  Groups of trials are as large as `seeds_together`, or else the memory, allows, and as equal as
  they can be. On a CPU the trials of a device take turns: XLA computes products of several networks
  at once there as slow loops (`python -m bench.seeds`, docs/performance.md).

  Args:
    options: of the run.
    num_trials: how many there are.
    room: what the memory holds.
    streamed: whether examples are read while they are needed. Trials see theirs in orders of their
      own, so each is trained to its end before the next then.

  Raises:
    ConfigError: if there are too few devices, or trials that cannot be trained together are asked
      to.
  """
  devices, processes = jax.device_count(), jax.process_count()
  if processes > 1:
    _check_processes(options, processes)
  if options.data_parallel > devices:
    raise ConfigError(
      f"data_parallel={options.data_parallel}, but there are {devices} devices "
      "(on a CPU, --cpu_devices=N makes N; from Python, see docs/scaling.md)"
    )
  axis = _seed_axis(options, num_trials, streamed)
  in_turn = jax.default_backend() == "cpu" and options.seed_axis != "vmap"
  if axis == "devices":
    return _shared_out(num_trials, devices, room, options, in_turn)
  most = 1 if axis == "loop" else options.seeds_together or room.lanes(options.data_parallel)
  together = _group_size(num_trials, most)
  return Layout(
    together,
    options.data_parallel,
    share_columns=_shares_state(options, processes),
    in_turn=in_turn and together > 1,
  )


def _shared_out(
  num_trials: int, devices: int, room: Room, options: RunOptions, in_turn: bool
) -> Layout:
  """The trials on devices of their own, no more of them than have something to do."""
  devices = min(devices, num_trials, room.devices())
  most = options.seeds_together or room.lanes(devices) * devices
  together = _group_size(num_trials, most)
  each = -(-together // devices)
  devices = -(-together // each)
  return Layout(together, devices, share_lanes=devices > 1, in_turn=in_turn and each > 1)


def _seed_axis(options: RunOptions, num_trials: int, streamed: bool) -> SeedAxis:
  if streamed and num_trials > 1 and options.seed_axis in ("vmap", "devices"):
    raise ConfigError(
      f"seed_axis={options.seed_axis!r}: the images of this stream are read while they are needed, "
      "which is for one seed at a time: set seed_axis='loop', or input='memory' if they fit"
    )
  if streamed:
    return "loop"
  if options.seed_axis != "auto":
    return options.seed_axis
  alone = options.data_parallel > 1 or jax.process_count() > 1 or num_trials == 1
  return "vmap" if alone else "devices"


def _shares_state(options: RunOptions, processes: int) -> bool:
  """Whether the devices that share each batch share the optimizer's state as well."""
  if options.shard_state and processes > 1:
    raise ConfigError(
      f"shard_state=True works in one process, and there are {processes}: start one for all "
      "devices of a machine, or set tag.accumulator_dtype='bfloat16'"
    )
  return options.shard_state


def _group_size(number: int, most: int) -> int:
  """Trials of the largest group: as few groups as there can be, and those as equal.

  >>> _group_size(7, 5), _group_size(12, 5), _group_size(12, 50)
  (4, 4, 12)
  """
  groups = -(-number // most)
  return -(-number // groups)


def describe(layout: Layout, num_trials: int, noun: str) -> str:
  """Where the trials are, in a few words; empty if there is one alone.

  >>> describe(Layout(5, 2, share_lanes=True, in_turn=True), 5, "seed")
  '5 seeds on 2 devices, up to 3 in turn on each'
  >>> describe(Layout(4), 12, "run")
  '12 runs, 4 at a time, side by side'
  """
  if num_trials == 1:
    return ""
  groups = "" if layout.num_lanes == num_trials else f", {layout.num_lanes} at a time"
  return f"{num_trials} {noun}s{groups}{_on_devices(layout)}"


def _on_devices(layout: Layout) -> str:
  if layout.num_lanes == 1:
    return ""
  how = "in turn" if layout.in_turn else "side by side"
  if not layout.share_lanes:
    return f", {how}"
  each = layout.lanes_a_device
  if each == 1:
    return f" on {layout.num_devices} devices"
  most = "up to " if layout.places > layout.num_lanes else ""
  return f" on {layout.num_devices} devices, {most}{each} {how} on each"


def _check_processes(options: RunOptions, processes: int) -> None:
  """Several processes can share each batch, and nothing else yet."""
  if options.seed_axis == "devices":
    raise ConfigError(
      f"seed_axis='devices' works in one process, and {processes} have been joined: use "
      "data_parallel, or share the seeds out without joining them, fit(process=(i, n))"
    )
  if options.data_parallel % processes:
    raise ConfigError(
      f"data_parallel={options.data_parallel} cannot be shared by {processes} processes: it counts "
      f"the devices of all of them, so choose a multiple; there are {jax.device_count()}. To share "
      "seeds out, do not join the processes: fit(process=(i, n))"
    )
  each, local = options.data_parallel // processes, jax.local_device_count()
  if each > local:
    raise ConfigError(
      f"data_parallel={options.data_parallel} asks each of {processes} processes for {each} "
      f"devices, and process {jax.process_index()} has {local}"
    )
