"""The flags of `launch.py`, and what each of them sets up."""

import atexit
import contextlib
import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from absl import flags
from ml_collections import ConfigDict, config_flags

from tagjax import config, distributed, report, training
from tagjax.core import faults, interrupts
from tagjax.core.errors import ConfigError, IncompleteRun, InterruptedRun, TagjaxError, reason
from tagjax.core.untrusted import plain_lines

_FLAGS = {
  "workdir": "Folder of the run; default: runs/BENCHMARK-METHOD-HASH of the config.",
  "compilation_cache": "Folder that keeps compiled programs; default: in the user's cache; "
  "empty: none.",
  "coordinator": "HOST:PORT of process 0 of several that share each batch.",
  "list": "Print the methods, models, benchmarks, schedules or options there are, and end.",
}

_SHOWN = (
  *_FLAGS,
  "config",
  "num_processes",
  "process_id",
  "cpu_devices",
  "distributed",
  "accept_changes",
  "profile",
)
"""What `--help` shows; `--helpfull` shows the flags of the libraries too."""


def parse(argv: list[str], default_config: str) -> list[str]:
  """Reads the command line, or says in one line what is wrong with it.

  Args:
    argv: the command line, the program's name first.
    default_config: the config file that is taken if `--config` names none.

  Returns:
    What is left of `argv`: the program's name, and arguments that are no flags.
  """
  _print_list(argv)
  argv, ranges = config.search_flags.take_ranges(argv)
  text = "Config; FILE.py:METHOD picks a method."
  logging.getLogger("absl").setLevel(logging.ERROR)  # what it warns of is told below, in one line
  try:
    if _asks_for_help(argv):  # answered without loading anything
      flags.DEFINE_string("config", default_config, text)
    else:
      # Keys of what is named there must be known before flags are read.
      config.plugins.import_named(_overrides(argv))
      config_flags.DEFINE_config_file("config", default_config, text, sys_argv=argv)
    for name, text in _FLAGS.items():
      flags.DEFINE_string(name, None, text)
    text = "How many processes share out the seeds, or each batch if config.data_parallel > 1."
    flags.DEFINE_integer("num_processes", None, text)
    flags.DEFINE_integer("process_id", None, "With --num_processes: which this is, from 0.")
    text = "On a CPU: devices that share out seeds or batches; default: one for each core."
    flags.DEFINE_integer("cpu_devices", None, text)
    text = "Train with the other processes of the cluster (SLURM, Open MPI, TPU pod) that it tells."
    flags.DEFINE_bool("distributed", False, text)
    text = (
      "Go on from a checkpoint of other data, code or devices; results.json tells what changed."
    )
    flags.DEFINE_bool("accept_changes", False, text)
    flags.DEFINE_bool("profile", False, "Record a trace of some steps in WORKDIR/profile.")
    for name in _SHOWN:
      flags.FLAGS.register_key_flag_for_module(argv[0], flags.FLAGS[name])
    left = flags.FLAGS(argv)
    if not isinstance(flags.FLAGS.config, ConfigDict):
      kind = type(flags.FLAGS.config).__name__
      raise ConfigError(f"get_config of {_file(argv)} returns {kind}, must return base_config()")
    config.search_flags.add_ranges(flags.FLAGS.config, ranges)
    if flags.FLAGS["verbosity"].using_default_value:  # absl would make it 0 then
      flags.FLAGS.verbosity = -1  # TFDS tells of every file that it writes
  except ConfigError as error:
    sys.exit(f"error: {plain_lines(error)}")
  except SystemExit as error:
    if any(re.match("--?help", argument) for argument in argv[1:]):
      raise
    sys.exit(f"error: {_file(argv)} ends with sys.exit({error.code!r}), must return base_config()")
  except Exception as error:  # a config file is a program, and may raise what it likes
    sys.exit(f"error: {plain_lines(flag_error(argv, error))}")
  if len(left) > 1:
    sys.exit(f"error: unexpected argument {left[1]!r}: settings are given as --config.KEY=VALUE")
  return left


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
  """Around what a process does: once all of it has ended, the process ends at once.

  Python would first take apart what JAX has made, object by object, for a third of a second. To be
  entered before other modules register with `atexit`: they run before, and nothing is lost.
  """
  codes: list[int] = []

  def leave() -> None:
    if codes:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(codes[0])

  atexit.register(leave)
  try:
    yield
  except SystemExit as stop:
    if isinstance(stop.code, str):  # as Python prints it
      print(stop.code, file=sys.stderr)
    codes.append(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
    raise SystemExit(codes[0]) from stop


def _asks_for_help(argv: list[str]) -> bool:
  return any(re.fullmatch("--?(help|helpshort)", argument) for argument in argv[1:])


def _print_list(argv: list[str]) -> None:
  """Answers `--list=methods` and the like, and ends."""
  for argument, following in zip(argv[1:], [*argv[2:], ""], strict=True):
    match = re.fullmatch(r"--?list(?:=(.*))?", argument)
    if match:
      what = following if match[1] is None else match[1]
      choices = get_args(config.listing.What)
      if what not in choices:
        sys.exit(f"error: --list={what}: choose one of {', '.join(choices)}")
      try:
        print(config.listing.listing(what), flush=True)
      except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      sys.exit(0)


def _overrides(argv: list[str]) -> list[tuple[str, str]]:
  """The keys and values of `--config.KEY=VALUE`, and of `--config.KEY VALUE`."""
  found = []
  for argument, following in zip(argv, [*argv[1:], ""], strict=True):
    match = re.match(r"--?config\.([\w.]+)(?:=(.*))?$", argument, re.DOTALL)
    if match:
      found.append((match[1], following if match[2] is None else match[2]))
  return found


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe, or says in one line why it cannot."""
  del argv
  sys.stdout, sys.stderr = map(report.forgiving.Forgiving, (sys.stdout, sys.stderr))
  logging.getLogger("jax").setLevel(logging.WARNING)  # it reports each backend it does not find
  values, workdir = flags.FLAGS, None
  try:
    chosen = config.settings.read(values.config)
    config.early.check(chosen)
    training.compilation_cache.keep_compiled(values.compilation_cache)
    for line in config.settings.unused(chosen, [key for key, _ in _overrides(sys.argv)]):
      print(f"note: {line}", file=sys.stderr)
    workdir = values.workdir or default_workdir(chosen)
    # First of all: whatever follows may ask JAX for its devices.
    needed = min(chosen["data_parallel"], chosen["batch_size"])
    training.cpu_devices.use_cpu_devices(values.cpu_devices, at_least=needed)
    process = join_hosts(values, share_batches=chosen["data_parallel"] > 1)
    with distributed.processes.together():
      run = config.run.run_config(
        chosen,
        workdir,
        profile=values.profile,
        process=process,
        accept_changes=values.accept_changes,
      )
  except InterruptedRun as stop:
    print(stop, file=sys.stderr)
    sys.exit(interrupts.INTERRUPTED)
  except IncompleteRun as part:
    print(part)
    sys.exit(0)
  except Exception as error:  # the one place that turns what ends a run into a line
    sys.exit(f"error: {faults.line_of(error, workdir)}")
  if distributed.processes.is_writer():
    is_grid = report.form.is_grid(run.results)
    show = report.tables.print_sweep if is_grid else report.tables.print_run
    show(run.results)
    print(f"Everything is in {workdir}")


def join_hosts(values: flags.FlagValues, *, share_batches: bool) -> tuple[int, int]:
  """Finds the processes that the flags name, if any, and joins them if they share each batch.

  Returns:
    `(i, n)`, if this is process i of n that share trials out; else `(0, 1)`.

  Raises:
    HostsError: if the flags contradict each other, or the processes cannot be joined.
  """
  place = {name: values[name].value for name in ("coordinator", "num_processes", "process_id")}
  given = [name for name, value in place.items() if value is not None]
  if values.distributed and given:
    raise distributed.processes.HostsError(
      f"--distributed asks the cluster for --{given[0]}: give one of the two only"
    )
  if given:
    _check_place(place, share_batches)
  if not share_batches:
    if values.distributed:
      return distributed.clusters.find(os.environ)
    return (place["process_id"], place["num_processes"]) if given else (0, 1)
  if values.distributed:
    distributed.processes.join()
  elif given:
    distributed.processes.join(**place)
  return 0, 1


def _check_place(place: dict, share_batches: bool) -> None:
  needed = [name for name in place if share_batches or name != "coordinator"]
  missing = [f"--{name}" for name in needed if place[name] is None]
  if missing:
    raise distributed.processes.HostsError(
      f"{' and '.join(missing)} is missing: several processes need --num_processes=N and "
      "--process_id=I, from 0 to N - 1, and with data_parallel --coordinator=HOST:PORT"
    )
  host, _, port = (place["coordinator"] or "unused:0").rpartition(":")
  if not host or not port.isdigit():
    raise distributed.processes.HostsError(
      f"--coordinator={place['coordinator']!r} must be HOST:PORT, such as node1:9876"
    )
  if not 0 <= place["process_id"] < place["num_processes"]:
    raise distributed.processes.HostsError(
      f"--process_id={place['process_id']} must be from 0 to --num_processes - 1, which is "
      f"{place['num_processes'] - 1}"
    )


def default_workdir(chosen: Mapping[str, Any]) -> str:
  """A folder of its own for each config, so that the same command goes on with the same run."""
  text = json.dumps(config.defaults.nested(config.settings.used(chosen)), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  name = f"{chosen['benchmark']}-{chosen['method']}".replace(":", ".").replace("/", ".")
  return f"runs/{name}-{digest}"


def flag_error(argv: list[str], error: BaseException) -> str:
  """One line for what the flags parser raised.

  ml_collections raises a bare AttributeError for an unknown key, and puts the traceback of what
  a config file raises into the text of its error.
  """
  known = config.defaults.known_options()
  for key, _ in _overrides(argv):
    if key not in known and not key.startswith(("sweep.", "search.")):
      return config.settings.unknown(key)
  if isinstance(error, flags.Error) and "\n" not in str(error):
    return str(error)
  for argument in argv:
    if re.match(r"--?config\.(=|$)", argument):
      return f"{argument} names no key: settings are given as --config.KEY=VALUE"
  while error.__cause__ or error.__context__:
    error = error.__cause__ or error.__context__
  if isinstance(error, TagjaxError | OSError):
    return f"cannot load --config: {' '.join(str(error).split())}"
  return f"cannot load --config={_file(argv)}: {reason(error)}"


def _file(argv: list[str]) -> str:
  """The config file that the command line names."""
  for argument, following in zip(argv, [*argv[1:], ""], strict=True):
    if match := re.match(r"--?config(?:=(.*))?$", argument):
      return following if match[1] is None else match[1]
  return "the config file"
