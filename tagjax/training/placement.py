"""Which lanes train side by side and on which devices, as the config and the machine allow."""

import jax
from ml_collections import ConfigDict

from tagjax.config import registry
from tagjax.core.errors import ConfigError
from tagjax.engine.programs import Layout


def choose_layout(
  config: ConfigDict, num_lanes: int, most: int | None = None, *, streamed: bool = False
) -> Layout:
  """How the lanes lie on the devices, see `config.seed_axis`.

  Args:
    config: the run's config.
    num_lanes: how many there are.
    most: how many may be side by side; None: all.
    streamed: whether examples are read while they are needed. Lanes see theirs in orders of their
      own, so they go in turn then.

  Raises:
    ConfigError: if there are too few devices, they cannot share the lanes out evenly, or lanes that
      cannot go side by side are asked to.
  """
  devices, processes = jax.device_count(), jax.process_count()
  if processes > 1:
    _check_processes(config, processes)
  if config.data_parallel > devices:
    raise ConfigError(
      f"config.data_parallel={config.data_parallel}, but there are {devices} devices "
      "(on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N)"
    )
  axis = config.seed_axis
  if streamed and num_lanes > 1 and axis in ("vmap", "devices"):
    raise ConfigError(
      f"config.seed_axis={axis!r}: the images of config.benchmark={config.benchmark!r} are read "
      "while they are needed, which is for one seed at a time: set config.seed_axis='loop', or "
      "config.input='memory' if they fit"
    )
  if streamed:
    axis = "loop"
  elif axis == "auto":
    axis = _best_seed_axis(config, devices, num_lanes)
  most = num_lanes if most is None else most
  if axis == "devices":
    if num_lanes % devices:
      points = num_lanes // config.seeds
      grid = f" at {points} points of config.sweep" if points > 1 else ""
      raise ConfigError(
        f"config.seeds={config.seeds}{grid} cannot be shared out to {devices} devices: choose a "
        "multiple, or config.seed_axis='vmap'"
      )
    a_device = _largest_divisor(num_lanes // devices, max(1, most // devices))
    return Layout(a_device * devices, devices, share_lanes=devices > 1)
  together = _largest_divisor(num_lanes, most) if axis == "vmap" else 1
  return Layout(together, config.data_parallel, share_columns=_shares_columns(config, processes))


def _shares_columns(config: ConfigDict, processes: int) -> bool:
  """Whether the devices share TAG's rows; `config.validate` sees to it that there are several."""
  shares = config.tag.shard_rows and registry.ends_in_tag(config.method)
  if shares and processes > 1:
    raise ConfigError(
      f"config.tag.shard_rows=True works in one process, and there are {processes}: start one for "
      "all devices of a machine, or set config.tag.accumulator_dtype='bfloat16'"
    )
  return shares


def _largest_divisor(number: int, most: int) -> int:
  """Groups must be equally large: one program serves them all."""
  return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)


def _check_processes(config: ConfigDict, processes: int) -> None:
  """Several processes can share each batch, and nothing else yet."""
  if config.seed_axis == "devices":
    raise ConfigError(
      f"config.seed_axis='devices' works in one process, and there are {processes}: start each "
      "process as a run of its own with its own config.seed, or use config.data_parallel"
    )
  if config.data_parallel % processes:
    raise ConfigError(
      f"config.data_parallel={config.data_parallel} cannot be shared by {processes} processes: it "
      f"counts the devices of all of them, so choose a multiple; there are {jax.device_count()}"
    )
  each, local = config.data_parallel // processes, jax.local_device_count()
  if each > local:
    raise ConfigError(
      f"config.data_parallel={config.data_parallel} asks each of {processes} processes for {each} "
      f"devices, and process {jax.process_index()} has {local}"
    )


def _best_seed_axis(config: ConfigDict, devices: int, num_lanes: int) -> str:
  if jax.default_backend() == "cpu":
    # Measured, docs/performance.md: convolutions of several networks at once are slower there.
    return "loop" if config.model in registry.CONVOLUTIONAL else "vmap"
  share = devices > 1 and config.data_parallel == 1 and num_lanes % devices == 0
  return "devices" if share else "vmap"
