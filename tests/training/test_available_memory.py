"""What a device or the machine can still give, from files of the kernel's form."""

import types

import jax
import pytest

from tagjax.training.available_memory import available_memory

GB = 10**9


def device(platform="cpu", **stats):
  return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats or None)


def test_an_accelerator_says_what_it_has():
  assert available_memory(device("gpu", bytes_limit=80 * GB, bytes_in_use=5 * GB)) == 75 * GB
  assert available_memory(device("gpu")) is None


def write(root, **files):
  for name, text in files.items():
    place = root / name.replace("__", "/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def test_a_cpu_has_what_the_machine_has(tmp_path):
  assert available_memory(device(), tmp_path) is None
  write(tmp_path, proc__meminfo="MemTotal:  900 kB\nMemAvailable:   700 kB\n")
  assert available_memory(device(), tmp_path) == 700 * 1024


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("path", ["/", "/job/step"])
def test_a_control_group_may_leave_less(tmp_path, version, path):
  """The limit is that of the group above; what it holds of files can be given back."""
  write(tmp_path, proc__meminfo="MemAvailable: 9000 kB\n")
  if version == 2:
    write(tmp_path, proc__self__cgroup=f"0::{path}\n")
    folder, names, spare = "sys/fs/cgroup", ("memory.max", "memory.current"), "inactive_file"
  else:
    write(tmp_path, proc__self__cgroup=f"7:cpu:/x\n4:memory:{path}\n")
    folder, spare = "sys/fs/cgroup/memory", "total_inactive_file"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
  group = tmp_path / folder / ("job" if path != "/" else "")
  group.mkdir(parents=True)
  for name, text in zip(
    (*names, "memory.stat"), ("5000", "3000", f"anon 7\n{spare} 500\n"), strict=True
  ):
    (group / name).write_text(text)
  assert available_memory(device(), tmp_path) == 2500
  (group / names[0]).write_text("max\n")
  assert available_memory(device(), tmp_path) == 9000 * 1024


def test_this_machine_has_some():
  assert available_memory(jax.local_devices()[0]) > 10**7
