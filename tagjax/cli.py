"""The flags of `launch.py`, and what each of them sets up."""

import hashlib
import json
import logging
import re
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from tagjax.config.defaults import base_config
from tagjax.core.errors import InterruptedRun, TagjaxError, nearest
from tagjax.datasets import DatasetUnavailableError
from tagjax.distributed import processes
from tagjax.training.compilation_cache import keep_compiled

_FLAGS = {
  "workdir": "Folder of the run; default: runs/BENCHMARK-METHOD-HASH of the config.",
  "compilation_cache": "Folder that keeps compiled programs; default: in the user's cache; "
  "empty: none.",
  "coordinator": "HOST:PORT of process 0 of several that train together.",
}


def parse(argv: list[str], default_config: str) -> list[str]:
  """Reads the command line, or says in one line what is wrong with it.

  Args:
    argv: the command line, the program's name first.
    default_config: the config file that is taken if `--config` names none.

  Returns:
    What is left of `argv`: the program's name, and arguments that are no flags.
  """
  try:
    config_flags.DEFINE_config_file(  # reads sys.argv at once, so not at import
      "config", default_config, "Config; FILE.py:METHOD picks a method."
    )
    for name, text in _FLAGS.items():
      flags.DEFINE_string(name, None, text)
    flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes.")
    flags.DEFINE_integer("process_id", None, "With --coordinator: which this is, from 0.")
    text = "Train with the other processes of the cluster (SLURM, Open MPI, TPU pod) that it tells."
    flags.DEFINE_bool("distributed", False, text)
    flags.DEFINE_bool("profile", False, "Record a trace of some steps in WORKDIR/profile.")
    left = flags.FLAGS(argv)
    if flags.FLAGS["verbosity"].using_default_value:  # absl would make it 0 then
      flags.FLAGS.verbosity = -1  # TFDS tells of every file that it writes
  except (flags.Error, AttributeError, KeyError, OSError) as error:
    sys.exit(f"error: {flag_error(argv, error)}")
  if len(left) > 1:
    sys.exit(f"error: unexpected argument {left[1]!r}: settings are given as --config.KEY=VALUE")
  return left


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags describe, or says in one line why it cannot."""
  del argv
  from tagjax.report.tables import print_run, print_sweep
  from tagjax.training.experiment import run  # a wrong flag is told without waiting for these
  from tagjax.training.sweep import run as run_sweep

  logging.getLogger("jax").setLevel(logging.WARNING)  # it reports each backend it does not find
  values = flags.FLAGS
  workdir = values.workdir or default_workdir(values.config)
  keep_compiled(values.compilation_cache)
  execute, show = (run_sweep, print_sweep) if values.config.sweep else (run, print_run)
  try:
    join_hosts(values)
    with processes.together():
      results = execute(values.config, workdir, profile=values.profile)
  except InterruptedRun as stop:
    print(stop, file=sys.stderr)
    sys.exit(130)
  except (TagjaxError, DatasetUnavailableError) as error:
    sys.exit(f"error: {error}")
  if processes.is_writer():
    show(results)
    print(f"Everything is in {workdir}")


def join_hosts(values: flags.FlagValues) -> None:
  """Joins the processes that the flags name, if any.

  Raises:
    HostsError: if the flags contradict each other, or the processes cannot be joined.
  """
  place = {name: values[name].value for name in ("coordinator", "num_processes", "process_id")}
  given = [name for name, value in place.items() if value is not None]
  if values.distributed and given:
    raise processes.HostsError(
      f"--distributed asks the cluster for --{given[0]}: give one of the two only"
    )
  if values.distributed:
    processes.join()
  elif given:
    _check_place(place)
    processes.join(**place)


def _check_place(place: dict) -> None:
  missing = [f"--{name}" for name, value in place.items() if value is None]
  if missing:
    raise processes.HostsError(
      f"{' and '.join(missing)} is missing: several processes need --coordinator=HOST:PORT, "
      "--num_processes=N and --process_id=I, from 0 to N - 1"
    )
  host, _, port = place["coordinator"].rpartition(":")
  if not host or not port.isdigit():
    raise processes.HostsError(
      f"--coordinator={place['coordinator']!r} must be HOST:PORT, such as node1:9876"
    )
  if not 0 <= place["process_id"] < place["num_processes"]:
    raise processes.HostsError(
      f"--process_id={place['process_id']} must be from 0 to --num_processes - 1, which is "
      f"{place['num_processes'] - 1}"
    )


def default_workdir(config) -> str:
  """A folder of its own for each config, so that the same command goes on with the same run."""
  text = json.dumps(config.to_dict(), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return f"runs/{config.benchmark}-{config.method}-{digest}"


def flag_error(argv: list[str], error: BaseException) -> str:
  """One line for what the flags parser raised.

  ml_collections raises a bare AttributeError for an unknown key, and puts the traceback of what
  a config file raises into the text of its error.
  """
  keys = [re.match(r"--?config\.([\w.]+)", argument) for argument in argv]
  for key in (match[1] for match in keys if match):
    place = base_config()
    for part in key.split("."):
      if not isinstance(place, ConfigDict) or part not in place:
        options = place.keys() if isinstance(place, ConfigDict) else ()
        return f"config.{key} is no key of the config{nearest(part, options)}"
      place = place[part]
  if isinstance(error, flags.Error) and "\n" not in str(error):
    return str(error)
  while error.__cause__ or error.__context__:
    error = error.__cause__ or error.__context__
  kind = "" if isinstance(error, TagjaxError | OSError) else f"{type(error).__name__}: "
  return f"cannot load --config: {kind}{' '.join(str(error).split())}"
