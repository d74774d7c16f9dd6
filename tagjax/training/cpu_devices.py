"""One CPU device of XLA for each core: what trials, and batches, can be shared out to."""

import math
import os
import pathlib
from collections.abc import Iterator

import jax

from tagjax.core.errors import ConfigError
from tagjax.training import control_group

_FLAG = "xla_force_host_platform_device_count"


def use_cpu_devices(number: int | None = None, *, at_least: int = 1) -> None:
  """Makes XLA offer a CPU device for each core that the process may use.

  Trials are then shared out to all cores (`RunOptions.seed_axis`). Programs of one device are as
  fast as with one device: all devices draw on the same threads. Accelerators are not touched.
  It must come before JAX computes anything; where JAX has computed something already, or the user
  has chosen a number (by `XLA_FLAGS`, or JAX's own option `jax_num_cpu_devices`), all stays as it
  is, unless `number` asks for another one.

  Args:
    number: how many; None: one for each core.
    at_least: what a run needs, even if there are fewer cores.

  Raises:
    ConfigError: if `number` is below 1 or cannot be had any more.
  """
  if number is not None:
    _choose(number)
  elif _chosen() is None:
    try:
      jax.config.update("jax_num_cpu_devices", max(usable_cores(), at_least))
    except RuntimeError:  # JAX has started: there are as many as there are
      return


def _choose(number: int) -> None:
  if number < 1:
    raise ConfigError(f"--cpu_devices={number}: must be at least 1")
  chosen = _chosen()
  if chosen not in (None, number):
    raise ConfigError(
      f"--cpu_devices={number}, and XLA_FLAGS or jax_num_cpu_devices asks for {chosen}: leave one "
      "of the two away"
    )
  try:
    jax.config.update("jax_num_cpu_devices", number)
  except RuntimeError as error:
    raise ConfigError(
      f"--cpu_devices={number}: JAX has started already, with {jax.local_device_count('cpu')}: "
      "choose before it computes anything"
    ) from error


def _chosen() -> int | None:
  """The number that the user has set by other means."""
  if (number := jax.config.values["jax_num_cpu_devices"]) >= 0:
    return number
  for text in os.environ.get("XLA_FLAGS", "").split():
    name, _, value = text.lstrip("-").partition("=")
    if name == _FLAG:
      return int(value)
  return None


def usable_cores(root: str | os.PathLike = "/") -> int:
  """Cores that this process may use: by its affinity, and by the quota of its control group.

  Args:
    root: of the file system with `proc` and `sys`.

  >>> 1 <= usable_cores() <= os.cpu_count()
  True
  """
  affinity = getattr(os, "sched_getaffinity", None)  # Linux only
  cores = len(affinity(0)) if affinity else os.cpu_count() or 1
  return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(pathlib.Path(root)))]))


def _quotas(root: pathlib.Path) -> Iterator[float]:
  """Cores' worth of time that the process's control groups allow."""
  for folder in control_group.folders(root, "cpu"):
    texts = control_group.read(folder / "cpu.max").split() or [
      control_group.read(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    ]
    if all(text.isdigit() for text in texts):  # "max" or -1: there is no limit
      quota, period = map(int, texts)
      yield quota / period
