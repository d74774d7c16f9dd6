"""What a run writes of its growth: by a network and a method that know what the right answer is."""

import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from tagjax import benchmarks, fit
from tagjax.core.chain import chain
from tagjax.core.method import identity
from tagjax.core.types import StreamSpec
from tagjax.storage import checkpoint
from tagjax.training.log_lines import lines_of
from tagjax.training.record import RunRecord
from tests import helpers

PIXELS = 16
SHARED, ROW, MASKED = PIXELS * 3 + 3, 3 * 2, 3


class Stacked(nn.Module):
  """A layer of all tasks, and one with a row a task."""

  @nn.compact
  def __call__(self, image, *, task_id):
    x = nn.Dense(3, name="all")(image.reshape(len(image), -1))
    rows = nn.with_logical_partitioning(nn.initializers.normal(0.1), ("task", None, None))
    own = self.param("own", rows, (3, 3, 2))[task_id]
    made = jnp.einsum("bi,bio->bo", x, own)
    return jnp.concatenate([made, made, made], axis=1)


def stream():
  spec: StreamSpec = helpers.spec(num_tasks=3)
  tasks = [(*helpers.examples(spec, t, 8)[:2], *helpers.examples(spec, t, 4)[:2]) for t in range(3)]
  return benchmarks.Stream.from_arrays("mine", tasks, scenario="task")


def reserving():
  """The bias of the common layer is in reserve; steps are counted."""

  def in_use(state, params, used):
    del state, params
    return {**used, "all": {**used["all"], "bias": jnp.zeros((), bool)}}

  return identity()._replace(
    init=lambda params: jnp.int32(0),
    update=lambda updates, state, params, *, at: (updates, state + 1),
    in_use=in_use,
    outcome=lambda state, task_id: {"steps": state, "task": jnp.full(2, task_id)},
    monitor=lambda state: {"so_far": jnp.array([state, -state], jnp.float32)},
    name="reserving",
  )


def train(*members, **options):
  method = chain(*members, optax.sgd(0.1))
  given = {"batch_size": 4, "progress": False, "plots": False} | options
  return fit(stream(), Stacked(), method, **given)


def test_without_hooks_rows_are_counted_on_the_host():
  run = train(seeds=2, seed_axis="loop")
  in_use = [[SHARED + (task + 1) * ROW for task in range(3)]] * 2
  np.testing.assert_array_equal(run.growth.parameters, in_use)
  np.testing.assert_array_equal(run.growth.bytes, 4 * np.array(in_use))
  allocated = (run.growth.allocated_parameters, run.growth.allocated_bytes)
  assert allocated == (SHARED + 3 * ROW, 4 * (SHARED + 3 * ROW))
  assert run.outcomes == {}
  # A pass of 4 images, its gradient by the weights of both layers, and by the hidden layer.
  products = 2 * 4 * (2 * PIXELS * 3 + 3 * 3 * 2)
  assert ((run.growth.step_flops > products) & (run.growth.step_flops < 2 * products)).all()
  assert (run.growth.evaluation_flops > 2 * (PIXELS * 3 + 3 * 2)).all()


@pytest.mark.parametrize("protocol", ["sequential", "independent"])
def test_what_the_method_tells_is_in_the_results_and_the_log(tmp_path, protocol):
  run = train(reserving(), seeds=2, seed_axis="vmap", protocol=protocol, workdir=tmp_path,
              chunk_steps=1)  # fmt: skip
  own = [[SHARED - MASKED + (task + 1) * ROW for task in range(3)]] * 2
  if protocol == "independent":  # a network for each task, all of which are kept
    own = (np.arange(1, 4) * (SHARED - MASKED + ROW)).tolist()
    own = [own, own]
  assert run.growth.parameters.tolist() == own
  steps = [2, 2, 2] if protocol == "independent" else [2, 4, 6]
  assert run.outcomes["steps"].tolist() == [steps] * 2
  assert run.outcomes["task"].tolist() == [[[0, 0], [1, 1], [2, 2]]] * 2
  told = run.monitored("so_far")
  of_entry = told[(told["seed"] == 2) & (told["entry"] == 1)]
  counted = [1, 2] * 3 if protocol == "independent" else range(1, 7)
  assert of_entry["value"].tolist() == [-number for number in counted]
  assert of_entry["step"].tolist() == [1, 2] * 3
  stored = json.loads((tmp_path / "results.json").read_text())
  assert stored["growth"]["parameters"] == own
  log = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
  lines = [line for line in log if "parameters" in line]
  assert sorted(line["parameters"] for line in lines) == sorted(own[0] + own[1])
  newest = checkpoint.inspect(tmp_path / "checkpoints")[-1]
  known = lines_of(RunRecord.from_json(newest.progress), [{"seed": 1}, {"seed": 2}])
  written = [line for line in known if "parameters" in line]  # where the log was lost
  assert written == sorted(lines, key=lambda line: line["seed"])
