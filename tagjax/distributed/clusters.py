"""Which process of how many this is, as the cluster's launcher tells it; nobody is contacted."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax

from tagjax.distributed.processes import HostsError


class _Launcher(NamedTuple):
  """Environment variables of a launcher: of all its processes, and of those on one host."""

  process_id: str
  num_processes: str
  local_id: str
  local_number: str


_LAUNCHERS = {
  "SLURM": _Launcher("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"),
  "Open MPI": _Launcher(
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
  ),
}


def find(environment: Mapping[str, str]) -> tuple[int, int]:
  """`(i, n)`: this is process i, from 0, of n.

  Where a host has several processes, each gets the GPU of its local number, as
  `jax.distributed.initialize` does it; to be called before JAX has touched a device.

  Raises:
    HostsError: if no launcher has set its variables.
  """
  for launcher in _LAUNCHERS.values():
    if launcher.process_id in environment and launcher.num_processes in environment:
      _choose_gpu(environment.get(launcher.local_id), environment.get(launcher.local_number, ""))
      return int(environment[launcher.process_id]), int(environment[launcher.num_processes])
  raise HostsError(
    f"--distributed finds no variables of {' or '.join(_LAUNCHERS)}: give --num_processes=N and "
    "--process_id=I"
  )


def _choose_gpu(local_id: str | None, local_number: str) -> None:
  # SLURM's number is like "4(x2),3": four processes on each of two hosts, three on another.
  largest = max(map(int, re.findall(r"(?:^|,)(\d+)", local_number)), default=1)
  if local_id is not None and largest > 1:
    jax.config.update("jax_cuda_visible_devices", local_id)
    jax.config.update("jax_rocm_visible_devices", local_id)
