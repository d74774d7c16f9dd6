"""The forecast is what a run holds, and what cannot fit is refused before it is compiled."""

import types

import jax
import numpy as np
import pytest

from tagjax.config.run import make_parts
from tagjax.config.settings import typed
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.method import Cost, Method, identity
from tagjax.training import assemble, memory_estimate
from tagjax.training.memory_estimate import num_bytes
from tagjax.training.options import RunOptions
from tagjax.training.trainer import Trial

GB = 10**9


def make(**changes):
  """Trainer, forecast and stream of a small run that has compiled nothing."""
  small = {
    "num_tasks": 3,
    "train_examples_per_task": 45,
    "test_examples_per_task": 20,
    "mlp.hidden": (16,),
    "memory.capacity": 2,
  }
  changes = {key.replace("__", "."): value for key, value in changes.items()}
  parts = make_parts(typed(small | changes))
  trials = [Trial(seed) for seed in range(1, 1 + parts.options.seeds)]
  trainer, forecast = assemble.assemble(
    parts.stream, parts.model, parts.method, trials, parts.options
  )
  return types.SimpleNamespace(trainer=trainer, forecast=forecast, stream=parts.stream)


def foreseen(**changes):
  return make(**changes).forecast


def held(run):
  """The run after its beginning: the state of one device, and bytes of all examples."""
  trainer = run.trainer
  keys, hyper = trainer.start(trainer.groups[0])
  state = trainer.programs.unreplicate(trainer.programs.init(keys, hyper))
  training = trainer._training.boundary(
    0, 0, key=keys[0], num_examples=trainer.programs.num_boundary_examples
  )
  tasks = range(len(run.stream))
  examples = (training, [trainer._evaluation.windows(task) for task in tasks])
  return state, sum(leaf.nbytes for leaf in jax.tree.leaves(examples))


@pytest.mark.parametrize(
  "changes",
  [
    {"method": "sgd"},
    {"method": "er+tag", "tag__accumulator_dtype": "bfloat16", "seeds": 3, "seed_axis": "vmap"},
    {"method": "ewc+gem+adam", "validation_fraction": 0.2},
    {"method": "mas+derpp", "mas__sequence": "recompute", "mas__capacity": 5},
    {"method": "weight_decay+clip+er+adamw"},
  ],
  ids=lambda changes: changes["method"],
)
def test_the_forecast_is_what_is_held(changes):
  run = make(**changes)
  assert not run.trainer.programs.traces
  found = run.forecast
  state, examples = held(run)
  assert found.params == num_bytes(state.variables["params"])
  assert found.examples == examples
  assert sum(found.method.values()) + found.exemplars == num_bytes(state.method)
  names = changes["method"].split("+")
  if len(names) > 1:
    first = state.method[0]
    memory = getattr(first, "memory", None)
    own = num_bytes(first) - (0 if memory is None else num_bytes(memory))
    assert found.method[names[0]] == own
    assert set(names) <= found.method.keys()


def test_exemplars_are_those_of_all_memories():
  assert foreseen(method="ewc+tag").exemplars == 0
  one, two = (foreseen(method="er", memory__capacity=n).exemplars for n in (1, 2))
  spec = make(method="sgd").stream.spec
  pairs, row = int(spec.classes.sum()), 8 * 8 + 4 + 4 + 4 + 1
  assert (one, two) == (pairs * row + 4, 2 * pairs * row + 4)


def test_each_device_holds_its_own_seeds(monkeypatch):
  alone = foreseen(seeds=1)
  assert foreseen(seeds=8, seed_axis="loop") == alone
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  spread = foreseen(seeds=7)  # on four devices
  assert (spread.seeds, spread.params) == (2, 2 * alone.params)
  assert sum(spread.method.values()) == 2 * sum(alone.method.values())
  assert spread.examples == alone.examples
  assert foreseen(data_parallel=2) == alone


def test_cpu_devices_share_one_memory():
  """With what fills the devices up; examples to train on are on all of them."""
  alone, spread = foreseen(seeds=1), foreseen(seeds=7)
  assert (spread.seeds, spread.params) == (7, 8 * alone.params)
  training = 45 * (8 * 8 + 4 + 4 + 4) + 4
  assert spread.examples == alone.examples + 3 * training
  twice = foreseen(data_parallel=2)
  assert (twice.seeds, twice.params) == (1, 2 * alone.params)


def give(monkeypatch, available):
  monkeypatch.setattr(assemble, "available_memory", lambda device: available)


def test_seeds_are_grouped_so_that_half_of_the_memory_stays_free(monkeypatch):
  one, all_together = foreseen(seeds=1), foreseen(seeds=12)
  assert all_together.seeds == 12
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  own = one.total - one.examples
  give(monkeypatch, 2 * (one.examples + 5 * own))
  run = make(seeds=12)
  assert [len(group) for group in run.trainer.groups] == [4] * 3  # at most 5
  assert run.forecast.seeds == 4
  # As asked for: it fits, if barely.
  assert [len(group) for group in make(seeds=12, seeds_together=6).trainer.groups] == [6, 6]
  give(monkeypatch, None)
  assert len(make(seeds=12).trainer.groups) == 1


def state_of(method, **variables):
  return types.SimpleNamespace(variables=variables, method=method, kept=None)


def floats(number):
  return np.zeros(number, np.float32)


def test_variables_that_are_kept_are_counted():
  kept = types.SimpleNamespace(
    variables={"params": floats(3)}, method=(), kept={"params": floats(3), "statistics": floats(1)}
  )
  found = memory_estimate.of_state(kept, identity()._replace(name="sgd"))
  assert (found.kept, found.total) == (16, 28)
  assert "16 B of kept variables" in str(found)


PREPARED = {  # of the parameters' bytes, for 5 tasks of 10 classes in all and features of 16
  "sgd": lambda params: 0,
  "itaml+sgd": lambda params: 5 * params,  # a copy a task; the general model is handed on
  "gdumb": lambda params: params,  # learned anew
  "icarl+sgd": lambda params: 10 * 16 * 4 + 10,  # the means, and whether there is one
  "bic+sgd": lambda params: 0,  # all of it is in the state
}


@pytest.mark.parametrize("method", PREPARED)
def test_what_is_prepared_for_evaluations_is_counted(method):
  streams = {"scenario": "class", "benchmark": "split_digits", "num_tasks": 5}
  counted = {"memory__capacity": 20, "memory__per": "total"}
  one = foreseen(method=method, **streams, **counted)
  expected = PREPARED[method](one.params)
  assert one.prepared == expected
  assert ("of prepared variables" in str(one)) == (expected > 0)
  assert one.total - one._replace(prepared=0).total == expected
  assert foreseen(method=method, seeds=3, seed_axis="vmap", **streams, **counted).prepared == (
    3 * expected
  )


def test_statistics_of_batches_are_no_parameters():
  state = state_of(floats(2), params=floats(3), batch_stats=floats(5))
  found = memory_estimate.of_state(state, identity()._replace(name="sgd"))
  assert (found.params, found.statistics, found.method, found.kept) == (12, 20, {"sgd": 8}, 0)
  assert str(found) == (
    "12 B of parameters + 20 B of other variables + 8 B of method state (sgd 8 B) = 40 B"
  )


def named(name):
  return identity()._replace(name=name)


@pytest.mark.parametrize(
  ("method", "state", "sizes"),
  [
    (chain(named("a"), named("b")), (floats(1), floats(3)), {"a": 4, "b": 12}),
    (named(""), floats(2), {"optimizer": 8}),
    # A member has no name: whose state is whose cannot be told.
    (chain(named("a"), named("b"), named("")), (floats(1), floats(3), floats(5)), {"method": 36}),
  ],
)
def test_members_of_a_chain_are_told_apart_by_their_names(method, state, sizes):
  assert isinstance(method, Method)
  found = memory_estimate.of_state(state_of(state, params=floats(1)), method)
  assert found.method == sizes


def test_what_a_step_keeps_counts_too():
  step = Cost("9 configurations", 50, "set lasem.at_once")
  found = memory_estimate.of_state(state_of((), params=floats(3)), named("a"))
  found = found._replace(step=step, rows=8)
  assert found.told_step() == ["step: 9 configurations; at least 50 B of activations"]
  assert "12 B of parameters (8 B in rows of the tasks)" in str(found)
  memory_estimate.check(found, RunOptions(), 62)
  reason = r"a step would keep 50 B.*12 B of the run, and there are 61 B.*: set lasem.at_once"
  with pytest.raises(ConfigError, match=reason):
    memory_estimate.check(found, RunOptions(), 61)
  with pytest.raises(ConfigError, match="the run would hold"):
    memory_estimate.check(found, RunOptions(), 11)


def test_the_line_names_the_largest_share():
  text = str(foreseen(method="ewc+er+tag", seeds=2))
  for part in ("of parameters", "of method state (tag", "of exemplars", "of examples"):
    assert part in text
  assert text.endswith(" for 2 seeds")


@pytest.mark.parametrize(
  ("changes", "available", "way_out"),
  [
    ({"method": "er+sgd", "memory__capacity": 70}, 10_000, r"lower memory\.capacity=70$"),
    ({"method": "mas", "mas__sequence": "recompute"}, 10_000, r"lower mas\.capacity=200"),
    ({"method": "tag"}, 10_000, r"set tag\.accumulator_dtype='bfloat16'"),
    ({"method": "tag", "data_parallel": 2}, 10_000, r"or set shard_state=True"),
    ({"method": "sgd", "seeds": 9, "seeds_together": 9}, 30_000, r"seeds_together=1"),
    ({"method": "sgd"}, 10_000, r"take a smaller model$"),
  ],
)
def test_what_does_not_fit_is_refused_with_figures_and_a_way_out(
  monkeypatch, changes, available, way_out
):
  give(monkeypatch, available)
  message = rf"would hold .* = .*B.*there are [13]0\.0 kB: .*{way_out}"
  with pytest.raises(ConfigError, match=message) as error:
    make(**changes)
  assert "\n" not in str(error.value)


def test_what_fits_exactly_is_not_refused(monkeypatch):
  found = make()
  layout = found.trainer.programs.layout
  batch = memory_estimate.batch_bytes(found.stream.spec, RunOptions(), layout, shared=True)
  total = found.forecast.total + batch
  give(monkeypatch, total)
  make()
  give(monkeypatch, total - 1)
  with pytest.raises(ConfigError):
    make()
  give(monkeypatch, None)
  make()


def test_a_memory_that_no_machine_has_is_refused_without_being_made():
  with pytest.raises(ConfigError, match=r"TB of exemplars.*lower memory\.capacity=200000000"):
    make(method="er+tag", memory__capacity=2 * 10**8, num_tasks=100)


def test_a_batch_counts_with_its_padding():
  run = make(batch_size=1000)  # of 45 examples
  options, layout = RunOptions(batch_size=1000), run.trainer.programs.layout
  needed = memory_estimate.batch_bytes(run.stream.spec, options, layout, shared=True)
  assert needed == 1000 * 8 * 8 * layout.num_devices
  memory_estimate.check_batch(needed, GB, options, needed + GB)
  memory_estimate.check_batch(needed, GB, options, None)
  with pytest.raises(ConfigError, match=r"^batch_size=1000 takes .* for the images of a batch"):
    memory_estimate.check_batch(needed, GB, options, needed + GB - 1)
