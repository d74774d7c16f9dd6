"""Repeats attacks by the real command: trials, passed, failed. `make drill`; some minutes.

Most processes are forked from one that has loaded the library. A row of the table is a function
that takes a folder and gives trials. A trial passes if the command ends with one line, or does what
it was asked for, and if nothing was executed, nothing written outside of the folder of the run, and
no more than 1 GB taken beyond what a small run takes.
"""

import argparse
import functools
import io
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import typing
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import damage
import faults
import kills
import numpy as np
import soak
from trials import SMALL, Trial, Tried, attempt, fault_of, lives, then, whole

from tagjax.config.defaults import known_options
from tagjax.datasets import prepare
from tagjax.report import compare

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))


BAD_VALUES = """
epochs=1000000000000 epochs=0 epochs=nan epochs=1.5 epochs=none num_tasks=100000000 num_tasks=-1
seeds=200000000 seeds=0 seed=1000000000000000000000000000000 seed=-1 batch_size=0
batch_size=10000000000000000000000 learning_curve_batches=1000000000 chunk_steps=0
keep_checkpoints=0 task_order=0-999999999999 task_order=5-1 classes=0-99999999999
learning_rate=nan learning_rate=inf learning_rate=-1 validation_fraction=2 test_fraction=nan
mlp.hidden=(True,) mlp.hidden=(0,) mlp.hidden=(8,x) mlp.dropout=nan method=tga method=
method=tag+tag method=os:system model=mpl benchmark=digit data_seed=-1 image_size=100000
normalization=none2 schedule=cosin freeze=3 tag.b=nan tag.b=inf tag.b=-1 augmentation.crop=-1
augmentation.rotation=nan augmentation.colour=2 sweep=[] sweep={} sweep=3 sweep={'epochs':3}
sweep={'epochs':[null]} sweep={'epochs':[1,1]} sweep_tasks=3 search=3 protocol=all forgetting=new
evaluate_on=train seed_axis=row train_examples_per_task=0 train_fraction=nan label_noise=2
blurry_fraction=nan pretrained=nowhere.pth data_parallel=0 shard_state=True =3 nokey=3
"""
BAD_OF_METHODS = """
er:er.strength ewc:ewc.strength si:si.strength lwf:lwf.strength gem:gem.eps ewc:ewc.clip
stable_sgd:stable_sgd.floor mas:mas.strength rwalk:rwalk.damping gem:gem.margin lwf:lwf.temperature
"""


def bad_values(folder: pathlib.Path) -> Iterator[Trial]:
  """Values that cannot be meant, and files that are not there."""
  workdir = f"--workdir={folder / 'run'}"
  for value in BAD_VALUES.split():
    yield Trial(value, (*SMALL, f"--config.{value}", workdir))
  for pair in BAD_OF_METHODS.split():
    method, key = pair.split(":")
    for value in ("nan", "inf"):
      arguments = (f"--config.method={method}", f"--config.{key}={value}", workdir)
      yield Trial(f"{key}={value}", (*SMALL, *arguments))
  nobody = "~nosuchuser/x"
  yield Trial("workdir of nobody", (*SMALL, f"--workdir={nobody}"))
  yield Trial("cache of nobody", (*SMALL, f"--compilation_cache={nobody}", workdir))
  yield Trial("cache folder of nobody", (*SMALL, workdir), {"TAGJAX_CACHE_DIR": nobody})
  cifar = ("--config.benchmark=split_cifar10", f"--config.data_dir={nobody}")
  yield Trial("data of nobody", (*SMALL, *cifar, workdir))
  yield Trial("a flag without a value", (*SMALL, workdir, "--config.epochs"))


def option_values(folder: pathlib.Path) -> Iterator[Trial]:
  """Every option of the config with a value of another type; numbers that cannot be meant."""
  workdir = f"--workdir={folder / 'run'}"
  for key, option in known_options().items():
    kinds = typing.get_args(option.type) or (option.type,)
    values = {bool: "perhaps", float: "much", int: "many"}
    wrong = [values[kind] for kind in kinds if kind in values][:1]
    wrong = wrong or ["nothing_of_this_name"] * (typing.get_origin(option.type) is Literal)
    if float in kinds and "." not in key:
      wrong += ["nan", "inf", "-inf"]
    if int in kinds and bool not in kinds and "." not in key:
      wrong += ["1.5", "-1000000000000000000000000000000", "1000000000000000000000000000000"]
    for value in wrong:
      yield Trial(f"{key}={value}", (*SMALL, f"--config.{key}={value}", workdir))


CONFIG_FILES = {
  "syntax": "def get_config(:",
  "import": "import nothing_of_this_name",
  "raises": "def get_config():\n  raise RuntimeError('mine')",
  "value": "def get_config():\n  raise ValueError('mine')",
  "none": "def get_config():\n  return None",
  "dict": "def get_config():\n  return {'a': 1}",
  "exit": "import sys\nsys.exit(3)",
  "exit inside": "def get_config():\n  raise SystemExit",
  "without": "x = 3",
  "arguments": "def get_config(one, two):\n  return None",
  "key": "def get_config():\n  return {}['key']",
}


def config_files(folder: pathlib.Path) -> Iterator[Trial]:
  """Config files with faults."""
  for name, program in CONFIG_FILES.items():
    file = folder / f"{name.replace(' ', '_')}.py"
    file.write_text(program)
    yield Trial(name, (f"--config={file}", f"--workdir={folder / 'run'}"))
  yield Trial("a folder", (f"--config={folder}", f"--workdir={folder / 'run'}"))


FEATURES = {
  "class to import": ("tensorflow_datasets.core.features.tensor_feature.Tensor", "outsider.Evil"),
  "old spelling": ('"pythonClassName"', '"type"'),
  "other spelling": (
    '"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor"',
    '"python_class_name": "outsider.Evil"',
  ),
  "compressed": ('"none"', '"zlib"'),
  "data set in a data set": ("tensor_feature.Tensor", "dataset_feature.Dataset"),
  "nested": ("{", "[" * 5000),
  "no text": ("{", "\udc80"),
}
INFO = {
  "too many": ('"1437"', '"1000000000000000"'),
  "too few": ('"1437"', '"1436"'),
  "infinite": ('"1437"', "Infinity"),
  "nested": ("{", "[" * 5000),
  "elsewhere": ("{DATASET}-{SPLIT}", "/dev/zero/{DATASET}-{SPLIT}"),
}


def prepared_sets(folder: pathlib.Path) -> Iterator[Trial]:
  """Prepared data sets that somebody has changed; each may bring a module along."""
  original = folder / "original"
  os.environ["TAGJAX_CACHE_DIR"], before = str(original), os.environ.get("TAGJAX_CACHE_DIR", "")
  prepare.prepare("digits")
  os.environ["TAGJAX_CACHE_DIR"] = before
  changes = [("features.json", *change) for change in FEATURES.items()]
  changes += [("dataset_info.json", *change) for change in INFO.items()]
  for number, (file, name, (old, new)) in enumerate(changes):
    cache = folder / f"cache {number}"
    shutil.copytree(original, cache)
    path = next(cache.rglob(file))
    text = path.read_text()
    assert old in text, name
    path.write_text(text.replace(old, new, 1), errors="surrogateescape")
    executed = folder / "executed"
    (folder / "outsider.py").write_text(f"open({str(executed)!r}, 'w').close()")
    env = {"TAGJAX_CACHE_DIR": str(cache), "PYTHONPATH": str(folder)}
    for how in ("memory", "stream"):
      arguments = (*SMALL, f"--config.input={how}", f"--workdir={folder / f'run {number}'}")
      unharmed = lambda executed=executed: not executed.exists()  # noqa: E731
      yield Trial(f"{file}, {name}, {how}", arguments, env, unharmed=unharmed)


def _chunk(kind: bytes, content: bytes) -> bytes:
  check = struct.pack(">I", zlib.crc32(kind + content))
  return struct.pack(">I", len(content)) + kind + content + check


def _large_png(width: int, height: int) -> bytes:
  header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
  rows = zlib.compress(bytes((width // 8 + 1) * height))
  parts = _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + parts


PICTURES = {
  "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
  "13,300 x 13,300": _large_png(13_300, 13_300),
  "8,001 x 8,000": _large_png(8_001, 8_000),
  "header without end": b"P6" + b" " * 5_000_000,
  "cut off": b"\x89PNG\r\n\x1a\n",
  "text": b"no picture",
}


def pictures(folder: pathlib.Path) -> Iterator[Trial]:
  """Folders of pictures, some of which are none, with a Ghostscript that would be noticed."""
  program, called = folder / "bin" / "gs", folder / "called"
  program.parent.mkdir()
  program.write_text(f"#!/bin/sh\ntouch '{called}'\n")
  program.chmod(0o755)
  for number, (name, content) in enumerate(PICTURES.items()):
    for suffix in ("png", "jpg"):
      own = folder / f"own {number} {suffix}"
      for task in ("one", "two"):
        for label in ("a", "b"):
          (own / task / label).mkdir(parents=True)
          for place in range(2):
            (own / task / label / f"{place}.{suffix}").write_bytes(content)
      arguments = (
        "--config=configs/image_folders.py:sgd",
        f"--config.image_folders={own}",
        f"--workdir={folder / 'run'}",
      )
      env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "TAGJAX_CACHE_DIR": str(folder)}
      yield Trial(f"{name}, {suffix}", arguments, env, unharmed=lambda: not called.exists())


def weights(folder: pathlib.Path) -> Iterator[Trial]:
  """Files of weights for `config.pretrained`."""
  executed = folder / "executed"
  calls = f"cos\nsystem\n(S'touch {executed}'\ntR.".encode()
  for name, program in {
    "remembers": b"Nr\0\0\0\x10.",
    "calls": calls,
    "many": b"(" + b"]" * 5_000_000 + b"l.",
    "cut off": b"\x80\x02}",
  }.items():
    path = folder / f"{name}.pth"
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("w/data.pkl", program)
    yield _weights(path, folder, executed)
  for suffix in ("pth", "npz", "safetensors"):
    (folder / f"zero.{suffix}").symlink_to("/dev/zero")
    os.mkfifo(folder / f"pipe.{suffix}")
    yield _weights(folder / f"zero.{suffix}", folder, executed)
    yield _weights(folder / f"pipe.{suffix}", folder, executed)
  file = io.BytesIO()
  np.savez_compressed(file, w=np.zeros(2**27, np.float32))
  (folder / "bomb.npz").write_bytes(file.getvalue())
  yield _weights(folder / "bomb.npz", folder, executed)


def _weights(path: pathlib.Path, folder: pathlib.Path, executed: pathlib.Path) -> Trial:
  arguments = (
    "--config.benchmark=split_digits",
    "--config.model=resnet18",
    f"--config.pretrained={path}",
    f"--workdir={folder / 'run'}",
  )
  return Trial(path.name, arguments, unharmed=lambda: not executed.exists())


LINKS = (
  ".lock",
  "config.json",
  "metrics.jsonl",
  "results.json",
  "accuracy_matrix.png",
  "checkpoints",
  "checkpoints/damaged",
  "checkpoints/99",
  "groups",
)


def workdirs(folder: pathlib.Path, launch: Callable) -> Iterator[Trial]:
  """Folders of interrupted runs with links, pipes and changed files among the run's own names."""
  first = folder / "first"
  ended = launch(*SMALL, f"--workdir={first}")
  assert ended.code == 0, ended.stderr
  (first / "results.json").unlink()
  for name in LINKS:
    run, target = folder / f"link {name.replace('/', ' ')}", folder / f"of {name.replace('/', ' ')}"
    shutil.copytree(first, run)
    target.mkdir()
    (target / "7.orbax-checkpoint-tmp").mkdir()
    (target / "precious").write_text("keep me")
    path = run / name
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    path.unlink(missing_ok=True)
    is_folder = path.suffix == "" and name != ".lock"
    path.symlink_to(target if is_folder else target / "precious")
    unharmed = lambda target=target: (  # noqa: E731
      (target / "precious").read_text() == "keep me"
      and sorted(entry.name for entry in target.iterdir()) == ["7.orbax-checkpoint-tmp", "precious"]
    )
    yield Trial(f"link {name}", (*SMALL, f"--workdir={run}"), unharmed=unharmed)
  for name in ("metrics.jsonl", ".lock", "config.json"):
    run = folder / f"pipe {name}"
    shutil.copytree(first, run)
    (run / name).unlink()
    os.mkfifo(run / name)
    yield Trial(f"pipe {name}", (*SMALL, f"--workdir={run}"))
  log = (first / "metrics.jsonl").read_bytes()
  for name, content in {"no log": None, "half a log": log[: len(log) // 2], "empty": b""}.items():
    run = folder / name
    shutil.copytree(first, run)
    (run / "metrics.jsonl").unlink()
    if content is not None:
      (run / "metrics.jsonl").write_bytes(content)
    unharmed = lambda run=run: (  # noqa: E731
      b"\0" not in (run / "metrics.jsonl").read_bytes()
      and (run / "metrics.jsonl").read_bytes().count(b"accuracy_after_task") == 2
    )
    yield Trial(name, (*SMALL, f"--workdir={run}"), unharmed=unharmed, ends=True)
  for name in ("²", "0099"):
    run = folder / f"named {name}"
    shutil.copytree(first, run)
    (run / "checkpoints" / name).mkdir()
    yield Trial(f"a checkpoint named {name}", (*SMALL, f"--workdir={run}"), ends=True)
  for name, text in RESULTS.items():
    run = folder / f"results {name}"
    shutil.copytree(first, run)
    (run / "results.json").write_text(text)
    yield Trial(f"results: {name}", (*SMALL, f"--workdir={run}"))


RESULTS = {
  "list": "[]",
  "object": "{}",
  "null": "null",
  "number": "3",
  "nested": "[" * 100_000,
  "half": '{"accuracy_matrix": [[[0.5',
  "text for a matrix": '{"accuracy_matrix": "x", "definitions": {}, "config": {}, "seconds": {}}',
  "seconds": '{"accuracy_matrix": [[[0.5]]], "definitions": {}, "config": {}, "seconds": "x"}',
  "terminal": json.dumps(
    {
      "accuracy_matrix": [[[0.5]]],
      "definitions": {"forgetting": "\x1b]0;owned\x07"},
      "config": {},
      "seconds": {},
    }
  ),
}


def comparisons(folder: pathlib.Path) -> Iterator[Trial]:
  """Results of others, for `python -m tagjax.report.compare`."""
  for name, text in RESULTS.items():
    (folder / name).mkdir()
    (folder / name / "results.json").write_text(text)
  (folder / "zero").mkdir()
  (folder / "zero" / "results.json").symlink_to("/dev/zero")
  (folder / "pipe").mkdir()
  os.mkfifo(folder / "pipe" / "results.json")
  (folder / "many lists").mkdir()
  (folder / "many lists" / "results.json").write_text(f"[{'[],' * 20_000_000}[]]")
  for name in (*RESULTS, "zero", "pipe", "many lists"):
    yield Trial(name, (), call=lambda name=name: compare.main([str(folder / name)]))


GRID = (
  *SMALL,
  "--config.validation_fraction=0.2",
  "--config.sweep={'learning_rate': [0.001, 0.002]}",
)


def grids(folder: pathlib.Path, launch: Callable) -> Iterator[Trial]:
  """Interrupted grids whose table is damaged: it is made anew, of the groups' records."""
  first = folder / "first"
  ended = launch(*GRID, f"--workdir={first}")
  assert ended.code == 0, ended.stderr
  expected = json.loads((first / "results.json").read_text())["points"]
  (first / "results.json").unlink()
  table = json.loads((first / "points.json").read_text())
  points = table["points"]
  damages: dict[str, Any] = {
    "gone": None,
    "list": [],
    "number": 3,
    "no points": {"seconds": table["seconds"]},
    "points of another form": table | {"points": [1]},
    "a row of another form": table | {"points": points | {"0": 3}},
    "rows changed over": table | {"points": {"0": points["1"], "1": points["0"]}},
    "a row too many": table | {"points": points | {"7": points["0"]}},
    "no seconds": {"points": points},
    "seconds of another form": table | {"seconds": {"0": "x"}},
  }
  for name, value in damages.items():
    run = folder / name
    shutil.copytree(first, run)
    (run / "points.json").unlink()
    if value is not None:
      (run / "points.json").write_text(json.dumps(value))
    same = lambda run=run: (  # noqa: E731
      json.loads((run / "results.json").read_text())["points"] == expected
    )
    yield Trial(name, (*GRID, f"--workdir={run}"), ends=True, unharmed=same)


OTHER_SETTINGS = (
  *("learning_rate=0.1", "epochs=2", "seed=7", "data_seed=3", "train_fraction=0.5"),
  *("label_noise=0.2", "tag.b=2.0", "method=tag_adam", "benchmark=rotated_digits"),
  *("evaluate_future_tasks=True", "batch_size=5", "chunk_steps=1", "checkpoint_every=3"),
  *("schedule=cosine", "clip=1.0", "blurry_fraction=0.1"),
  *("augmentation.crop=1", "normalization=none"),
)


def other_settings(folder: pathlib.Path, launch: Callable) -> Iterator[Trial]:
  """Checkpoints of another run of the same shapes, in a folder that has lost its config.json."""
  first = folder / "first"
  ended = launch(*SMALL, f"--workdir={first}")
  assert ended.code == 0, ended.stderr
  for name in ("results.json", "config.json"):
    (first / name).unlink()
  for change in OTHER_SETTINGS:
    run = folder / change
    shutil.copytree(first, run)
    unharmed = lambda run=run: not (run / "results.json").exists()  # noqa: E731
    arguments = (*SMALL, f"--config.{change}", f"--workdir={run}")
    yield Trial(change, arguments, unharmed=unharmed)


def changed_data(folder: pathlib.Path, launch: Callable) -> Iterator[Trial]:
  """Images of one's own that change after a checkpoint was written."""
  own, first = folder / "own", folder / "first"
  for task in ("one", "two"):
    for label in ("a", "b"):
      (own / task / label).mkdir(parents=True)
      for place in range(4):
        (own / task / label / f"{place}.png").write_bytes(_large_png(8, 8 + place))
  settings = (
    "--config=configs/image_folders.py:sgd",
    f"--config.image_folders={own}",
    "--config.image_size=16",
    "--config.model=mlp",
    "--config.seeds=1",
    "--config.plots=False",
  )
  env = {"TAGJAX_CACHE_DIR": str(folder / "cache")}
  ended = launch(*settings, f"--workdir={first}", **env)
  assert ended.code == 0, ended.stderr
  (first / "results.json").unlink()
  last = own / "two" / "b" / "3.png"
  for name, change in (
    ("one image", lambda: last.write_bytes(_large_png(8, 16))),
    ("an image more", lambda: (last.parent / "4.png").write_bytes(_large_png(8, 8))),
    ("an image less", lambda: (last.parent / "4.png").unlink() or last.unlink()),
    ("another name", lambda: (last.parent / "2.png").rename(last.parent / "5.png")),
    ("another class", lambda: (last.parent / "1.png").rename(own / "two" / "a" / "5.png")),
  ):
    change()
    run = folder / name
    shutil.copytree(first, run)
    unharmed = lambda run=run: not (run / "results.json").exists()  # noqa: E731
    yield Trial(name, (*settings, f"--workdir={run}"), env, unharmed=unharmed)


MOMENTS = (0.02, 0.1, 0.4, 1.0, 2.0, 4.0)  # seconds from the start


def signals(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Requests to stop over the command's life, each of which is then given again."""
  arguments, expected = whole(folder, launch)
  for number, moment in enumerate(MOMENTS * 3):
    sent = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number // len(MOMENTS)]
    run = folder / f"{sent.name} {moment:g}"
    call = functools.partial(_stop, launch, (*arguments, f"--workdir={run}"), moment, sent)
    same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
    yield Trial(f"{sent.name} after {moment:g} s", (), ends=True, unharmed=same, call=call)


def _stop(launch: Any, arguments: tuple[str, ...], moment: float, number: signal.Signals) -> int:
  process, begun = launch.start(*arguments), time.monotonic()
  while lives(process.pid):
    if time.monotonic() - begun >= moment and soak.handles(process.pid, number):
      os.kill(process.pid, number)
      break
    time.sleep(0.005)
  ended = process.wait()
  lines = ended.stderr.splitlines()
  told = ended.code == 0 or (ended.code == 130 and lines and "stopped" in lines[-1])
  return then(launch, arguments, told and "Traceback" not in ended.stderr, ended)


DISKS = (
  "4k",
  "16k",
  "40k",
  "64k",
  "80k",
  "100k",
  "120k",
  "140k",
  "160k",
  "200k",
  "8m,nr_inodes=20",
)


def full_disks(folder: pathlib.Path, launch: Any) -> Iterator[Trial]:
  """Disks of a few KB or inodes, which are then given room; root can make them, nobody else."""
  arguments, expected = whole(folder, launch)
  for size in DISKS:
    disk = folder / size
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
      return  # not root
    try:
      run = disk / "run"
      call = functools.partial(_fill, launch, (*arguments, f"--workdir={run}"), disk)
      same = lambda run=run: faults.outcome(run) == expected  # noqa: E731
      yield Trial(f"a disk of {size}", (), ends=True, unharmed=same, call=call)
    finally:
      subprocess.run(["umount", str(disk)], check=True)


def _fill(launch: Any, arguments: tuple[str, ...], disk: pathlib.Path) -> int:
  ended = launch(*arguments)
  room = ["mount", "-o", "remount,size=64m,nr_inodes=9999", str(disk)]
  subprocess.run(room, check=True)
  fault = fault_of(Trial("", (), ends=True), ended)
  return then(launch, arguments, not fault, ended)


ROWS: dict[str, Callable[..., Iterator[Trial]]] = {
  "bad command lines and values": bad_values,
  "values of all options": option_values,
  "config files with faults": config_files,
  "prepared data sets": prepared_sets,
  "files of a prepared data set": damage.prepared_files,
  "pictures": pictures,
  "files of weights": weights,
  "folders of runs, and results in them": workdirs,
  "checkpoints of runs with other settings": other_settings,
  "data that change after a checkpoint": changed_data,
  "tables of grids": grids,
  "results of others, compared": comparisons,
  "checkpoints": damage.checkpoints,
  "logs": damage.logs,
  "compiled programs": kills.compiled_programs,
  "kills": kills.kills,
  "kills of cold starts": kills.cold_starts,
  "kills with one checkpoint": kills.kills_with_one_checkpoint,
  "kills while preparing": kills.kills_while_preparing,
  "signals, and the same command again": signals,
  "signals after a checkpoint": kills.signals_after_a_checkpoint,
  "full disks, and the same command again": full_disks,
  "quotas": kills.quotas,
  "two in one folder": kills.two_in_one_folder,
  "readers beside a run": kills.readers_beside_a_run,
  "several prepare": kills.several_prepare,
  "determinism": kills.determinism,
}


def trials_of(row: str, folder: pathlib.Path, launch: Callable) -> Iterator[Trial]:
  """The trials of a row, made when they are asked for."""
  make = ROWS[row]
  needs_launch = "launch" in make.__annotations__
  return make(folder, launch) if needs_launch else make(folder)


def figures_of(found: list[Tried], seconds: float) -> dict[str, Any]:
  """What the tables show of a row."""
  failed = {one.name: one.fault for one in found if one.fault}
  return {
    "trials": len(found),
    "passed": len(found) - len(failed),
    "failed": failed,
    "most_mib": max((one.mib for one in found), default=0),
    "seconds": round(seconds),
  }


def main() -> int:
  """Prints the table; returns the exit status."""
  import launcher  # the tests' own

  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help="some rows")
  parser.add_argument("--out", type=pathlib.Path, help="JSON file that takes the figures too")
  options = parser.parse_args()
  os.chdir(ROOT)
  faults.origin()
  all_failed = 0
  with tempfile.TemporaryDirectory(prefix="tagjax-drill-") as temporary:
    root = pathlib.Path(temporary)
    os.environ.setdefault("TAGJAX_CACHE_DIR", str(root / "cache"))
    (root / "launch").mkdir()
    launch = launcher.Launcher(root / "launch")
    usual = launch(*SMALL, f"--workdir={root / 'usual'}").peak
    print("| test | trials | passed | failed |\n|---|---:|---:|---:|")
    for number, row in enumerate(options.only or ROWS):
      folder, begun = root / str(number), time.monotonic()
      folder.mkdir()
      found = list(attempt(trials_of(row, folder, launch), launch, usual))
      figures = figures_of(found, time.monotonic() - begun) | {"usual_mib": usual >> 10}
      shutil.rmtree(folder, ignore_errors=True)
      failed = figures["failed"]
      all_failed += len(failed)
      print(f"| {row} | {len(found)} | {figures['passed']} | {len(failed)} |", flush=True)
      for name, fault in failed.items():
        print(f"  {name}: {fault}", file=sys.stderr, flush=True)
      if options.out:
        faults.keep(options.out, row, figures, __file__)
    launch.close()
  return 1 if all_failed else 0


if __name__ == "__main__":
  sys.exit(main())
