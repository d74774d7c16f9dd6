"""The forecast is what a run holds, and what cannot fit is refused before it is compiled."""

import types

import jax
import numpy as np
import pytest

from tagjax.config.defaults import base_config
from tagjax.core.errors import ConfigError
from tagjax.training import memory_estimate, trainer
from tagjax.training.memory_estimate import available_memory, num_bytes

GB = 10**9


def make(**changes):
  """A driver that has compiled nothing."""
  config = base_config()
  config.update_from_flattened_dict(
    {
      "num_tasks": 3,
      "train_examples_per_task": 45,
      "test_examples_per_task": 20,
      "mlp.hidden": (16,),
      "memory.capacity": 2,
    }
    | {key.replace("__", "."): value for key, value in changes.items()}
  )
  return trainer.Driver(config)


def held(run):
  """The run after its beginning: the collapsed state, and bytes of all examples."""
  keys = jax.random.split(jax.random.key(0), run.programs.layout.num_lanes)
  state = run.programs.unreplicate(run.programs.init(keys))
  tasks = range(len(run.stream))
  training = run._training.boundary(
    0, 0, key=keys[0], num_examples=run.programs.num_boundary_examples
  )
  examples = (training, [run._evaluation.windows(task) for task in tasks])
  return state, sum(leaf.nbytes for leaf in jax.tree.leaves(examples))


@pytest.mark.parametrize(
  "changes",
  [
    {"method": "sgd"},
    {"method": "er+tag", "tag__accumulator_dtype": "bfloat16", "seeds": 3},
    {"method": "ewc+gem+adam", "protocol": "sequential", "validation_fraction": 0.2},
    {"method": "mas+derpp", "mas__sequence": "recompute", "mas__capacity": 5},
  ],
  ids=lambda changes: changes["method"],
)
def test_the_forecast_is_what_is_held(changes):
  run = make(**changes)
  assert not run.programs.traces
  found = run.forecast
  state, examples = held(run)
  assert found.params == num_bytes(state.variables["params"])
  assert found.examples == examples
  assert sum(found.method.values()) + found.exemplars == num_bytes(state.method)
  if "+" in changes["method"]:
    first = state.method[0]
    memory = first.memory if hasattr(first, "memory") and first.memory is not None else ()
    assert found.method[changes["method"].split("+")[0]] == num_bytes(first) - num_bytes(memory)


def test_exemplars_are_those_of_all_memories():
  assert make(method="ewc+tag").forecast.exemplars == 0
  one, two = (make(method="er", memory__capacity=n).forecast.exemplars for n in (1, 2))
  spec = make(method="sgd").stream.spec
  pairs, row = int(spec.classes.sum()), 8 * 8 + 4 + 4 + 1
  assert (one, two) == (pairs * row + 4, 2 * pairs * row + 4)


def test_each_device_holds_its_own_seeds():
  alone, spread = make(seeds=1).forecast, make(seeds=8, seed_axis="devices").forecast
  assert (spread.seeds, spread.params) == (2, 2 * alone.params)
  assert sum(spread.method.values()) == 2 * sum(alone.method.values())
  assert make(seeds=8, seed_axis="loop").forecast == alone
  assert make(data_parallel=2).forecast == alone


def test_seeds_are_grouped_so_that_half_of_the_memory_stays_free(monkeypatch):
  one, all_together = make(seeds=1).forecast, make(seeds=12).forecast
  assert all_together.seeds == 12
  own = one.total - one.examples
  monkeypatch.setattr(memory_estimate, "available_memory", lambda _: 2 * (one.examples + 5 * own))
  run = make(seeds=12)
  assert run.lanes_together == 4  # the largest divisor of 12 up to 5
  assert run.forecast.seeds == 4
  assert make(seeds=12, seeds_together=6).lanes_together == 6  # as asked for: it fits, if barely
  monkeypatch.setattr(memory_estimate, "available_memory", lambda _: None)
  assert make(seeds=12).lanes_together == 12


def test_statistics_of_batches_are_no_parameters(tmp_path):
  del tmp_path
  state = jax.eval_shape(
    lambda: (
      types.SimpleNamespace(
        variables={"params": np.zeros(3, np.float32), "batch_stats": np.zeros(5, np.float32)},
        method=np.zeros(2, np.float32),
      ).__dict__
    )
  )
  found = memory_estimate.of_state(types.SimpleNamespace(**state), ["sgd"])
  assert (found.params, found.statistics, found.method) == (12, 20, {"sgd": 8})
  assert str(found) == (
    "12 B of parameters + 20 B of batch statistics + 8 B of method state (sgd 8 B) = 40 B"
  )


def test_the_line_names_the_largest_share():
  text = str(make(method="ewc+er+tag", seeds=2).forecast)
  for part in ("of parameters", "of method state (tag", "of exemplars", "of examples"):
    assert part in text
  assert text.endswith("(2 seeds side by side)")


@pytest.mark.parametrize(
  ("changes", "available", "way_out"),
  [
    ({"method": "er+sgd", "memory__capacity": 70}, 10_000, r"lower config\.memory\.capacity=70$"),
    ({"method": "mas", "mas__sequence": "recompute"}, 10_000, r"lower config\.mas\.capacity=200$"),
    ({"method": "tag"}, 10_000, r"config\.tag\.accumulator_dtype='bfloat16'"),
    ({"method": "tag", "data_parallel": 2}, 10_000, r"or set config\.tag\.shard_rows=True"),
    ({"method": "sgd", "seeds": 9, "seeds_together": 9}, 30_000, r"config\.seeds_together=1"),
    ({"method": "sgd"}, 10_000, r"smaller model than config\.model='mlp'"),
  ],
)
def test_what_does_not_fit_is_refused_with_figures_and_a_way_out(
  monkeypatch, changes, available, way_out
):
  monkeypatch.setattr(memory_estimate, "available_memory", lambda device: available)
  with pytest.raises(
    ConfigError, match=rf"would hold .* = .*B.*there are [13]0\.0 kB: .*{way_out}"
  ) as e:
    make(**changes)
  assert "\n" not in str(e.value)


def test_what_fits_exactly_is_not_refused(monkeypatch):
  total = make().forecast.total
  monkeypatch.setattr(memory_estimate, "available_memory", lambda device: total)
  make()
  monkeypatch.setattr(memory_estimate, "available_memory", lambda device: total - 1)
  with pytest.raises(ConfigError):
    make()
  monkeypatch.setattr(memory_estimate, "available_memory", lambda device: None)
  make()


def test_a_memory_that_no_machine_has_is_refused_without_being_made():
  with pytest.raises(
    ConfigError, match=r"TB of exemplars.*lower config\.memory\.capacity=200000000"
  ):
    make(method="er+tag", memory__capacity=2 * 10**8, num_tasks=100)


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
