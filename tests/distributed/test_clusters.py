"""Which process this is, as SLURM and Open MPI tell it."""

import jax
import pytest

from tagjax.distributed import clusters
from tagjax.distributed.processes import HostsError

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}
OPEN_MPI = {
  "OMPI_COMM_WORLD_RANK": "3",
  "OMPI_COMM_WORLD_SIZE": "4",
  "OMPI_COMM_WORLD_LOCAL_RANK": "1",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


@pytest.fixture
def visible(monkeypatch):
  """The GPUs that the process is told to see."""
  told = {}
  monkeypatch.setattr(jax.config, "update", told.__setitem__)
  return told


@pytest.mark.parametrize(
  ("environment", "place", "gpu"),
  [
    (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, (5, 8), "1"),
    (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1,7"}, (5, 8), "1"),
    (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x8)"}, (5, 8), None),
    (SLURM, (5, 8), None),
    (OPEN_MPI, (3, 4), "1"),
    (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, (3, 4), None),
  ],
)
def test_processes_of_a_host_take_a_gpu_each_and_a_lone_one_takes_all(
  visible, environment, place, gpu
):
  assert clusters.find(environment) == place
  expected = (
    {}
    if gpu is None
    else dict.fromkeys(("jax_cuda_visible_devices", "jax_rocm_visible_devices"), gpu)
  )
  assert visible == expected


def test_no_launcher_is_one_line(visible):
  with pytest.raises(HostsError, match=r"finds no variables of SLURM or Open MPI: give --num_pro"):
    clusters.find({"SLURM_PROCID": "5"})
  assert visible == {}
