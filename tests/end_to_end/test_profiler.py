"""--profile: a trace that TensorBoard and Perfetto open, of the training program at work."""

import gzip
import json

SMALL = (
  "--config.num_tasks=2",
  "--config.train_examples_per_task=50",
  "--config.test_examples_per_task=40",
  "--config.mlp.hidden=(8,)",
  "--config.seeds=1",
  "--config.plots=False",
)


def training_calls(folder) -> int:
  """How many calls of the training program the trace saw operations of."""
  [path] = folder.rglob("*.trace.json.gz")
  events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
  arguments = [event.get("args", {}) for event in events]
  return len({a["run_id"] for a in arguments if a.get("hlo_module") == "jit_train_train"})


def test_a_trace_holds_three_chunks(launch, tmp_path):
  ended = launch(*SMALL, "--config.chunk_steps=1", "--profile", f"--workdir={tmp_path}")
  assert ended.code == 0, ended.stderr
  assert training_calls(tmp_path / "profile") == 3
  assert len(list((tmp_path / "profile").rglob("*.xplane.pb"))) == 1  # what TensorBoard reads


def test_a_short_run_leaves_what_there_is(launch, tmp_path):
  """Two chunks, of which the first compiles."""
  ended = launch(*SMALL, "--profile", f"--workdir={tmp_path}")
  assert ended.code == 0, ended.stderr
  assert training_calls(tmp_path / "profile") == 1


def test_a_run_of_one_chunk_says_that_there_is_nothing(launch, tmp_path):
  ended = launch(*SMALL, "--config.num_tasks=1", "--profile", f"--workdir={tmp_path}")
  assert ended.code == 0, ended.stderr
  assert "--profile: the run has one chunk of steps only" in ended.stderr
  assert not (tmp_path / "profile").exists()


def test_nothing_is_recorded_unasked(launch, tmp_path):
  assert launch(*SMALL, f"--workdir={tmp_path}").code == 0
  assert not (tmp_path / "profile").exists()
