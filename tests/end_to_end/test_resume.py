"""A run that was stopped, anyhow and anywhere, ends with the bits of one that was not."""

import json
import os
import random
import signal
import time

import pytest

from tagjax.config.run import run_config
from tagjax.engine.programs import Programs
from tagjax.training import assemble
from tagjax.training.train_stream import Cursor

SETTINGS = (
  "--config.method=si+derpp+tag",  # a path, anchors, a memory, and moments of every task
  "--config.num_tasks=3",
  "--config.train_examples_per_task=130",
  "--config.test_examples_per_task=40",
  "--config.mlp.hidden=(16,)",
  "--config.seeds=2",
  "--config.seed_axis=loop",
  "--config.learning_rate=0.01",  # so that there is something to learn, and to get wrong
  "--config.checkpoint_every=5",
  "--config.chunk_steps=3",
  "--config.plots=False",
  "--config.continuum=4",
  "--config.continuum_lengths=(1,10)",
  "--config.confusion_matrix=True",
)
POSITIONS = 2 * (1 + 3 * (5 + 2))  # begin; 13 steps in chunks of 3, consolidate, evaluate


def outcome(workdir) -> tuple:
  """What must not depend on interruptions: results and log as text."""
  results = json.loads((workdir / "results.json").read_text())
  for name in ("seconds", "command", "provenance"):
    del results[name]
  return json.dumps(results), (workdir / "metrics.jsonl").read_text()


def positions(workdir) -> list[int]:
  """The finished checkpoints."""
  folder = workdir / "checkpoints"
  if not folder.exists():
    return []
  return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


@pytest.fixture(scope="module")
def reference(launch, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uninterrupted")
  ended = launch(*SETTINGS, f"--workdir={workdir}")
  assert ended.code == 0, ended.stderr
  matrix = json.loads((workdir / "results.json").read_text())["accuracy_matrix"][0]
  assert matrix[0][0] > 0.2  # it has learned: equal results are not equal for being trivial
  return outcome(workdir)


def stop_at(process, workdir, position: int, number: int, delay: float = 0.0):
  """Sends the signal once a checkpoint of `position` or later is there."""
  results = workdir / "results.json"
  while max(positions(workdir), default=0) < position and not results.exists():
    time.sleep(0.002)
    assert os.path.exists(f"/proc/{process.pid}/stat"), "the process is gone"
  time.sleep(delay)
  os.kill(process.pid, number)  # one that has just ended is a zombie until it is waited for
  return process.wait()


@pytest.mark.timeout(300)
def test_killed_at_random_moments(launch, reference, tmp_path):
  chance = random.Random(7)
  killed, mid_task = 0, 0
  for target in (0, chance.randint(3, 15), chance.randint(18, 38)):
    process = launch.start(*SETTINGS, f"--workdir={tmp_path}")
    delay = chance.uniform(0.1, 1.0) if target == 0 else chance.uniform(0.0, 0.05)
    ended = stop_at(process, tmp_path, target, signal.SIGKILL, delay)
    killed += ended.code == -signal.SIGKILL
    # After the "evaluate" of a task, (position - begin) is a multiple of 7.
    mid_task += any((position % 22 - 1) % 7 for position in positions(tmp_path)[-1:])
  assert killed == 3
  assert mid_task > 0
  ended = launch(*SETTINGS, f"--workdir={tmp_path}")
  assert ended.code == 0, ended.stderr
  assert outcome(tmp_path) == reference


@pytest.mark.product
def test_killed_with_seeds_side_by_side(launch, tmp_path):
  settings = (*SETTINGS, "--config.seed_axis=auto")
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  assert launch(*settings, f"--workdir={whole}").code == 0
  ended = stop_at(launch.start(*settings, f"--workdir={killed}"), killed, 10, signal.SIGKILL)
  assert ended.code == -signal.SIGKILL
  assert launch(*settings, f"--workdir={killed}").code == 0
  assert outcome(killed) == outcome(whole)


@pytest.fixture(scope="module")
def interrupted(launch, reference, tmp_path_factory):
  """Stopped by Ctrl-C in the second seed."""
  workdir = tmp_path_factory.mktemp("interrupted")
  process = launch.start(*SETTINGS, f"--workdir={workdir}")
  return workdir, stop_at(process, workdir, 12, signal.SIGINT)


def test_interrupted_then_damaged(launch, reference, interrupted):
  """Ctrl-C saves and says so; the checkpoint that it saved is then damaged."""
  workdir, ended = interrupted
  assert ended.code == 130
  assert "SIGINT: saving, then stopping" in ended.stderr
  assert f"the same command goes on in {workdir}" in ended.stderr
  assert "Traceback" not in ended.stderr
  assert not (workdir / "results.json").exists()
  before, newest = positions(workdir)
  damage(workdir / "checkpoints" / str(newest))
  ended = launch(*SETTINGS, f"--workdir={workdir}")
  assert ended.code == 0, ended.stderr
  assert f"warning: checkpoint {newest} is damaged" in ended.stderr
  assert f"going on from {before}" in ended.stderr
  assert outcome(workdir) == reference


def damage(checkpoint):
  """Flips a bit in the middle of the largest file."""
  path = max((path for path in checkpoint.rglob("*") if path.is_file()), key=os.path.getsize)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


class Stopped(Exception):  # noqa: N818  (what a test did, not a fault)
  pass


@pytest.mark.parametrize(
  "method",
  [
    "tag",
    *(
      pytest.param(method, marks=pytest.mark.product)
      for method in ("itaml+tag", "icarl+tag", "den+tag", "lasem+tag", "darts+tag")
    ),
  ],
)
def test_stopped_at_every_position(tiny, tmp_path, monkeypatch, method):
  """Each action of the run, just before it and between it and its checkpoint."""
  config = tiny(seeds=2, train_examples_per_task=35, checkpoint_every=2, chunk_steps=3)
  config.method, config.learning_rate, config.scenario = method, 0.01, "class"
  grows = method == "den+tag"
  if grows:  # four phases a task
    config.scenario, config.model, config.expandable_mlp.hidden = "task", "expandable_mlp", (8,)
  if method in ("lasem+tag", "darts+tag"):
    config.scenario, config.model, config.hps.sharing = "task", "hps", "searched"
    sizes = {"channels": (3,), "kernels": (3,), "pools": (2,), "hidden": ()}
    config.convolutions.update(sizes)
  # The best epoch's weights and what it was chosen by are part of a checkpoint.
  config.epochs, config.select_epoch, config.validation_fraction = (1, 2), "best", 0.2
  config.peak_accuracy = method == "tag"
  programs = []

  def once(*arguments, **options):
    if not programs:  # compiled once for all
      programs.append(Programs(*arguments, **options))
    return programs[0]

  monkeypatch.setattr(assemble, "Programs", once)
  run_config(config, tmp_path / "whole", progress=False)
  expected = outcome(tmp_path / "whole")

  perform, stops = Cursor.perform, []

  def stopping(self, action, *arguments):
    position = self.position
    if position > max(stops, default=-1):  # each position is stopped at once, before or after
      stops.append(position)
      if position % 2:
        perform(self, action, *arguments)
      raise Stopped
    perform(self, action, *arguments)

  monkeypatch.setattr(Cursor, "perform", stopping)
  for _ in range(1000):
    try:
      run_config(config, tmp_path / "stopped", progress=False)
      break
    except Stopped:
      continue
  assert stops == list(range(len(stops)))
  # Begin; of each epoch its chunks (3 steps, 5 with the exemplars of task 0) and its validations;
  # of each task the count of exemplars, the best epoch's weights, consolidate, evaluate.
  counts = method in ("itaml+tag", "icarl+tag")
  validations = 2 if config.peak_accuracy else 1
  epochs = (1 + validations) + 2 * (1 + counts + validations)
  assert grows or len(stops) == 1 + epochs + 2 * (counts + 3)
  assert outcome(tmp_path / "stopped") == expected
  assert programs[0].traces["train", "split" if grows else "train"] == 1
