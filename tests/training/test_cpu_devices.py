"""How many CPU devices there are, and who decides."""

import os
import re
import types

import jax
import pytest

from tagjax.core.errors import ConfigError
from tagjax.training import cpu_devices
from tagjax.training.cpu_devices import usable_cores, use_cpu_devices


@pytest.fixture
def updated(monkeypatch):
  """What is set; JAX believes that it has not started."""
  found, values = {}, {"jax_num_cpu_devices": -1}
  config = types.SimpleNamespace(values=values, update=found.__setitem__)
  monkeypatch.setattr(cpu_devices, "jax", types.SimpleNamespace(config=config))
  monkeypatch.setattr(cpu_devices, "usable_cores", lambda: 6)
  monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
  return found, values


@pytest.mark.parametrize(
  ("arguments", "number"), [({}, 6), ({"at_least": 8}, 8), ({"at_least": 2}, 6), ({"number": 3}, 3)]
)
def test_there_is_a_device_for_each_core_unless_asked_otherwise(updated, arguments, number):
  use_cpu_devices(**arguments)
  assert updated[0] == {"jax_num_cpu_devices": number}


@pytest.mark.parametrize("by_flag", [True, False])
def test_what_the_user_has_set_stays(updated, monkeypatch, by_flag):
  found, values = updated
  if by_flag:
    flags = "--xla_dump_to=here --xla_force_host_platform_device_count=4"
    monkeypatch.setenv("XLA_FLAGS", flags)
  else:
    values["jax_num_cpu_devices"] = 4
  use_cpu_devices(at_least=9)
  assert not found
  with pytest.raises(ConfigError, match=r"^--cpu_devices=3, and XLA_FLAGS or .* asks for 4: leave"):
    use_cpu_devices(3)
  use_cpu_devices(4)


def test_after_jax_has_started_nothing_changes(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  before = jax.device_count()
  use_cpu_devices(at_least=before + 1)
  assert jax.device_count() == before
  with pytest.raises(ConfigError, match=rf"^--cpu_devices={before + 1}: JAX has started already"):
    use_cpu_devices(before + 1)


def test_less_than_one_is_refused():
  with pytest.raises(ConfigError, match=re.escape("--cpu_devices=0: must be at least 1")):
    use_cpu_devices(0)


@pytest.mark.parametrize(
  ("path", "files", "cores"),
  [
    ("/", {}, 8),
    ("/job", {"cpu.max": "max 100000\n"}, 8),
    ("/job", {"cpu.max": "250000 100000\n"}, 3),
    ("/job/step", {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 100000\n"}, 2),
    ("/", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ("/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
  ],
)
def test_cores_are_bounded_by_affinity_and_quota(monkeypatch, tmp_path, path, files, cores):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
  group = tmp_path / "proc/self/cgroup"
  group.parent.mkdir(parents=True)
  group.write_text(f"0::{path}\n")
  for name, text in files.items():
    place = tmp_path / "sys/fs/cgroup" / (name if "/" in name else f"{path}/{name}".lstrip("/"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
  assert usable_cores(tmp_path) == cores
