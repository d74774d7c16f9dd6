"""Which trials train side by side and on which devices, as the options and the machine allow."""

import jax

from tagjax.core.errors import ConfigError
from tagjax.engine.programs import Layout
from tagjax.training.options import RunOptions, SeedAxis


def choose_layout(
  options: RunOptions,
  num_trials: int,
  most: int | None = None,
  *,
  convolutional: bool = False,
  streamed: bool = False,
) -> Layout:
  """How the trials lie on the devices, see `RunOptions.seed_axis`.

  Args:
    options: of the run.
    num_trials: how many there are.
    most: how many may be side by side; None: all.
    convolutional: whether the model has convolutions, which are slower side by side on a CPU.
    streamed: whether examples are read while they are needed. Trials see theirs in orders of their
      own, so they go in turn then.

  Raises:
    ConfigError: if there are too few devices, they cannot share the trials out evenly, or trials
      that cannot go side by side are asked to.
  """
  devices, processes = jax.device_count(), jax.process_count()
  if processes > 1:
    _check_processes(options, processes)
  if options.data_parallel > devices:
    raise ConfigError(
      f"data_parallel={options.data_parallel}, but there are {devices} devices "
      "(on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N)"
    )
  axis = _seed_axis(options, num_trials, convolutional, streamed)
  most = num_trials if most is None else most
  if axis == "devices":
    if num_trials % devices:
      points = num_trials // options.seeds
      grid = f" at {points} points of the grid" if points > 1 else ""
      raise ConfigError(
        f"seeds={options.seeds}{grid} cannot be shared out to {devices} devices: choose a "
        "multiple, or seed_axis='vmap'"
      )
    a_device = _largest_divisor(num_trials // devices, max(1, most // devices))
    return Layout(a_device * devices, devices, share_lanes=devices > 1)
  together = _largest_divisor(num_trials, most) if axis == "vmap" else 1
  return Layout(together, options.data_parallel, share_columns=_shares_state(options, processes))


def _seed_axis(
  options: RunOptions, num_trials: int, convolutional: bool, streamed: bool
) -> SeedAxis:
  if streamed and num_trials > 1 and options.seed_axis in ("vmap", "devices"):
    raise ConfigError(
      f"seed_axis={options.seed_axis!r}: the images of this stream are read while they are needed, "
      "which is for one seed at a time: set seed_axis='loop', or input='memory' if they fit"
    )
  if streamed:
    return "loop"
  if options.seed_axis != "auto":
    return options.seed_axis
  if jax.default_backend() == "cpu":
    # Measured, docs/performance.md: convolutions of several networks at once are slower there.
    return "loop" if convolutional else "vmap"
  devices = jax.device_count()
  share = devices > 1 and options.data_parallel == 1 and num_trials % devices == 0
  return "devices" if share else "vmap"


def _shares_state(options: RunOptions, processes: int) -> bool:
  """Whether the devices that share each batch share the optimizer's state as well."""
  if options.shard_state and processes > 1:
    raise ConfigError(
      f"shard_state=True works in one process, and there are {processes}: start one for all "
      "devices of a machine, or set tag.accumulator_dtype='bfloat16'"
    )
  return options.shard_state


def _largest_divisor(number: int, most: int) -> int:
  """Groups must be equally large: one program serves them all."""
  return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)


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
