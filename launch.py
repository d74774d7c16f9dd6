"""Trains a continual learner: python launch.py --config=configs/cifar_tag.py --workdir=DIR."""

import hashlib
import json
import logging
import os
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # kept programs make XLA log: openxla/xla#44565
HERE = Path(__file__).resolve().parent


def parse(argv: list[str]) -> list[str]:
  """Reads the command line, or says in one line what is wrong with it."""
  flags.FLAGS.set_default("verbosity", -1)  # TFDS tells of every file that it writes
  try:
    config_flags.DEFINE_config_file(  # reads sys.argv at once, so not at import
      "config", str(HERE / "configs" / "digits_tag.py"), "Config; FILE.py:METHOD picks a method."
    )
    flags.DEFINE_string(
      "workdir", None, "Folder of the run; default: runs/BENCHMARK-METHOD-HASH of the config."
    )
    text = "Folder that keeps compiled programs; default: in the user's cache; empty: none."
    flags.DEFINE_string("compilation_cache", None, text)
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, OSError) as error:
    from tagjax.config import flag_error

    sys.exit(f"error: {flag_error(argv, error)}")


def main(argv: list[str]) -> None:
  """Runs the experiment, or says in one line why it cannot."""
  if len(argv) > 1:
    sys.exit(f"error: unexpected argument {argv[1]!r}: settings are given as --config.KEY=VALUE")
  from tagjax.compilation import keep_compiled
  from tagjax.datasets import DatasetUnavailableError
  from tagjax.errors import InterruptedRun, TagjaxError
  from tagjax.experiment import run
  from tagjax.report.tables import print_run, print_sweep
  from tagjax.sweep import run as run_sweep

  logging.getLogger("jax").setLevel(logging.WARNING)  # it reports each backend it does not find
  config = flags.FLAGS.config
  workdir = flags.FLAGS.workdir or default_workdir(config)
  keep_compiled(flags.FLAGS.compilation_cache)
  try:
    results = (run_sweep if config.sweep else run)(config, workdir)
  except InterruptedRun as stop:
    print(stop, file=sys.stderr)
    sys.exit(130)
  except (TagjaxError, DatasetUnavailableError) as error:
    sys.exit(f"error: {error}")
  (print_sweep if config.sweep else print_run)(results)
  print(f"Everything is in {workdir}")


def default_workdir(config) -> str:
  """A folder of its own for each config, so that the same command goes on with the same run."""
  text = json.dumps(config.to_dict(), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return f"runs/{config.benchmark}-{config.method}-{digest}"


if __name__ == "__main__":
  app.run(main, flags_parser=parse)
