"""Two processes on the loopback: one run, whoever is stopped, killed or wrongly started."""

import json
import os
import re
import resource
import signal
import socket
import time

import jax
import pytest

from tagjax.core.errors import ConfigError, WorkdirError
from tagjax.distributed import processes, shared_workdir
from tagjax.storage import checkpoint
from tagjax.training.options import RunOptions
from tagjax.training.placement import choose_layout

from .test_resume import positions

SETTINGS = (
  "--config.num_tasks=2",
  "--config.train_examples_per_task=130",
  "--config.test_examples_per_task=40",
  "--config.mlp.hidden=(16,)",
  "--config.seeds=1",
  "--config.learning_rate=0.01",
  "--config.chunk_steps=4",
  "--config.plots=False",
  "--config.data_parallel=2",
)
MEMORY = ("--config.method=er+tag", "--config.memory.capacity=2")
LONG = (*SETTINGS, *MEMORY, "--config.epochs=3", "--config.checkpoint_every=5")
AGAIN = "The same command in every process goes on from the last checkpoint"


@pytest.fixture
def pair(launch):
  """Starts two processes with a device each; `(process 0, process 1)`."""

  def pair(*arguments, others=()):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    place = (f"--coordinator=127.0.0.1:{port}", "--num_processes=2")
    return [
      launch.start(*place, f"--process_id={own}", *arguments, *more, **devices(1))
      for own, more in ((0, ()), (1, others))
    ]

  return pair


@pytest.fixture
def slurm(launch):
  """Starts the same two as SLURM does: with variables in place of flags."""

  def slurm(*arguments):
    job = next(job for job in range(os.getpid() % 4096, 4096) if is_free(61440 + job))
    common = {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    return [
      launch.start(
        "--distributed",
        *arguments,
        **common,
        **devices(1),
        SLURM_PROCID=str(own),
        SLURM_LOCALID=str(own),
      )
      for own in (0, 1)
    ]

  return slurm


def is_free(port: int) -> bool:
  with socket.socket() as probe:
    return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def long_run(launch, tmp_path_factory):
  """What `LONG` gives in one process with two devices."""
  return alone(launch, tmp_path_factory.mktemp("alone"), *LONG)


def devices(number: int) -> dict[str, str]:
  """So many of the CPU in the place of the suite's; its other flags stay."""
  kept = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
  return {"XLA_FLAGS": " ".join([*kept, f"--xla_force_host_platform_device_count={number}"])}


def alone(launch, workdir, *settings):
  ended = launch(*settings, f"--workdir={workdir}", **devices(2))
  assert ended.code == 0, ended.stderr
  return outcome(workdir)


def outcome(workdir) -> tuple:
  """What must not depend on the number of processes: results, log, and the last checkpoint."""
  results = json.loads((workdir / "results.json").read_text())
  for name in ("seconds", "command", "provenance"):
    del results[name]
  last = max(positions(workdir))
  record, data, _ = checkpoint._read(workdir / "checkpoints", last, most_bytes=2**30)
  return results, (workdir / "metrics.jsonl").read_text(), record["leaves"], data.tobytes()


def finish(processes) -> list:
  return [process.wait() for process in processes]


def signal_one(processes, victim: int, number: int, workdir) -> list:
  """Sends the signal once the two have trained on and saved a new checkpoint."""
  first = max(positions(workdir), default=0)
  while max(positions(workdir), default=0) <= first:
    time.sleep(0.01)
    assert os.path.exists(f"/proc/{processes[0].pid}/stat"), "process 0 is gone"
  os.kill(processes[victim].pid, number)
  begun = time.perf_counter()
  # The launcher waits for one at a time: first for the one that the signal ends.
  ended = {index: processes[index].wait() for index in (victim, 1 - victim)}
  assert time.perf_counter() - begun < 60
  return [ended[0], ended[1]]


def test_two_processes_are_one_with_two_devices(slurm, launch, tmp_path):
  """To the bit: results, log and checkpoints; only process 0 says something."""
  settings = (*SETTINGS, "--config.method=sgd")
  check_voices(*finish(slurm(*settings, f"--workdir={tmp_path / 'pair'}")))
  assert outcome(tmp_path / "pair") == alone(launch, tmp_path / "alone", *settings)


def check_voices(first, second):
  assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
  assert "average accuracy" in first.stdout
  assert "average accuracy" not in second.stdout
  assert second.stderr == ""


def take_disk(processes, workdir) -> list:
  """From the next checkpoint on the files of process 0, which alone writes, cannot grow."""
  first = max(positions(workdir), default=0)
  while max(positions(workdir), default=0) <= first:
    time.sleep(0.01)
    assert os.path.exists(f"/proc/{processes[0].pid}/stat"), "process 0 is gone"
  room = 4096  # for what it prints
  resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (room, room))
  begun = time.perf_counter()
  ended = finish(processes)
  assert time.perf_counter() - begun < 60
  return ended


@pytest.mark.product  # pairs of processes start four times
@pytest.mark.timeout(300)
def test_pairs_that_are_stopped_killed_or_lose_their_disk_go_on_to_the_same_results(
  pair, long_run, tmp_path
):
  """Those of one process with two devices, to the bit, with a memory that both hold."""
  settings = (*LONG, f"--workdir={tmp_path}")
  for ended in signal_one(pair(*settings), 1, signal.SIGTERM, tmp_path):
    assert ended.code == 130, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("stopped and saved")
  first, second = signal_one(pair(*settings), 1, signal.SIGKILL, tmp_path)
  assert (first.code, second.code) == (1, -signal.SIGKILL)
  lines = [line for line in first.stderr.splitlines() if not line.startswith(("seed ", "memory: "))]
  assert lines == [f"error: process 1 has ended or cannot be reached. {AGAIN}"]
  first, second = take_disk(pair(*settings), tmp_path)
  assert (first.code, second.code) == (1, 1)
  told = r"(there is no room on the disk for|cannot save a checkpoint in) .*"
  assert re.fullmatch(f"error: {told}", first.stderr.splitlines()[-1])
  assert re.fullmatch(f"error: process 0 failed: {told}", second.stderr.splitlines()[-1])
  assert not (tmp_path / "results.json").exists()
  check_voices(*finish(pair(*settings)))
  assert outcome(tmp_path) == long_run


@pytest.mark.product
def test_the_death_of_process_0_ends_the_others(pair, tmp_path):
  _, second = signal_one(pair(*LONG, f"--workdir={tmp_path}"), 0, signal.SIGKILL, tmp_path)
  assert second.code == 1
  # XLA may have printed its own account before.
  line = f"error: process 0 has ended or cannot be reached. {AGAIN}"
  assert second.stderr.splitlines()[-1] == line


@pytest.mark.product  # it waits for the silence to be long enough
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_stands_still_ends_the_other(pair, tmp_path, victim):
  two = pair(*LONG, f"--workdir={tmp_path}")
  while not positions(tmp_path):
    time.sleep(0.01)
    assert os.path.exists(f"/proc/{two[0].pid}/stat"), "process 0 is gone"
  os.kill(two[victim].pid, signal.SIGSTOP)
  begun = time.perf_counter()
  ended = two[1 - victim].wait()
  assert time.perf_counter() - begun < 60
  os.kill(two[victim].pid, signal.SIGKILL)
  two[victim].wait()
  assert ended.code == 1
  line = ended.stderr.splitlines()[-1]
  assert line.startswith(f"error: process {victim} ")
  assert line.endswith(AGAIN)


@pytest.mark.product
def test_what_a_killed_process_has_left_one_alone_finishes(launch, tmp_path):
  """Seeds are shared out, and the other process does not notice."""
  quick = ("--config.method=sgd", "--config.epochs=3", "--config.checkpoint_every=5")
  settings = (*SETTINGS, *quick, "--config.data_parallel=1", "--config.seeds=2")
  shared = (*settings, "--num_processes=2", f"--workdir={tmp_path / 'shared'}")
  first, second = (launch.start(*shared, f"--process_id={own}") for own in (0, 1))
  share = tmp_path / "shared" / "shares" / "1"
  while not positions(share):
    time.sleep(0.01)
    assert os.path.exists(f"/proc/{second.pid}/stat"), "process 1 is gone"
  os.kill(second.pid, signal.SIGKILL)
  assert second.wait().code == -signal.SIGKILL
  ended = first.wait()
  assert ended.code == 0, ended.stderr
  assert ended.stdout.startswith("ended: seed 1. Missing: seed 2. Their processes")
  log = (tmp_path / "shared" / "shares" / "0" / "metrics.jsonl").read_bytes()

  ended = launch(*settings, f"--workdir={tmp_path / 'shared'}")
  assert ended.code == 0, ended.stderr
  assert f"process 0 of 1 trains seed 2, in {share}" in ended.stderr
  assert "average accuracy" in ended.stdout
  assert (tmp_path / "shared" / "metrics.jsonl").read_bytes().startswith(log)


def test_different_configs_are_refused_by_both(pair, tmp_path):
  settings = (*SETTINGS, f"--workdir={tmp_path / 'run'}")
  for ended in finish(pair(*settings, others=("--config.epochs=2",))):
    assert ended.code == 1
    text = "error: config.epochs is 1 in process 0 and 2 in process 1"
    assert ended.stderr.startswith(text)
    assert ended.stderr.count("\n") == 1
  assert not (tmp_path / "run").exists()


def test_an_error_of_one_is_told_by_both(pair, tmp_path):
  """Process 0 alone finds that the folder cannot be written."""
  (tmp_path / "file").write_text("")
  first, second = finish(pair(*SETTINGS, f"--workdir={tmp_path / 'file' / 'run'}"))
  assert (first.code, second.code) == (1, 1)
  assert first.stderr.startswith("error: cannot write to workdir")
  assert second.stderr.startswith("error: process 0 failed: cannot write to workdir")


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (["--coordinator=here:1"], "--num_processes and --process_id is missing"),
    (["--coordinator=1", "--num_processes=2", "--process_id=0"], "'1' must be HOST:PORT"),
    (["--coordinator=a:1", "--num_processes=2", "--process_id=2"], "--process_id=2 must be from 0"),
    (["--distributed", "--process_id=2"], "--distributed asks the cluster for --process_id"),
    (["--distributed"], "cannot join the other processes"),
    (["--config.data_parallel=1", "--process_id=1"], "--num_processes is missing"),
    (["--config.data_parallel=1", "--distributed"], "finds no variables of SLURM or Open MPI"),
  ],
)
def test_wrong_flags_are_one_line(launch, tmp_path, arguments, text):
  ended = launch(*SETTINGS, *arguments, f"--workdir={tmp_path}")
  assert ended.code == 1
  assert text in ended.stderr
  assert ended.stderr.count("\n") == 1


def test_what_several_processes_cannot_do_is_refused(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  assert choose_layout(RunOptions(data_parallel=2), 3).num_devices == 2
  with pytest.raises(ConfigError, match=r"data_parallel=1 cannot be shared by 2 processes"):
    choose_layout(RunOptions(), 1)
  monkeypatch.setattr(jax, "local_device_count", lambda: 1)
  with pytest.raises(ConfigError, match=r"data_parallel=4 asks each of 2 processes for 2"):
    choose_layout(RunOptions(data_parallel=4, batch_size=8), 1)
  with pytest.raises(ConfigError, match=r"seed_axis='devices' works in one process, and 2 have"):
    choose_layout(RunOptions(seed_axis="devices"), 4)


def test_a_folder_that_is_not_shared_is_refused(monkeypatch, tmp_path):
  monkeypatch.setattr(processes, "exchange", lambda text: ["the mark of process 0", text])
  monkeypatch.setattr(shared_workdir, "_NETWORK_SECONDS", 0.0)
  folder = shared_workdir.ReadWorkdir(tmp_path)
  (tmp_path / ".lock").write_text("of another run")
  with pytest.raises(WorkdirError, match="does not see in"), folder.lock():
    pass
  (tmp_path / ".lock").write_text("the mark of process 0")
  with folder.lock():
    folder.claim({})
  assert [path.name for path in tmp_path.iterdir()] == [".lock"]
