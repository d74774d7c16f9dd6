"""Trains a continual learner on a stream of tasks.

  python launch.py                                        TAG on permuted digits, in a minute
  python launch.py --config=configs/digits.py:adam        a config file, and a method
  python launch.py --config.method=er+adamw               --config.KEY=VALUE sets any key
  python launch.py --list=methods                         or models, benchmarks, schedules, options

configs/ has a file for each stream: --config=FILE.py:METHOD takes the values that were tuned for
the method. docs/options.md describes every key. A run is in runs/BENCHMARK-METHOD-HASH, or in
--workdir=DIR; the same command resumes it. Your own method, model or benchmark:
--config.method=module:function, docs/add_a_method.md. Several processes: docs/scaling.md.
"""

from tagjax.core import interrupts

if __name__ == "__main__":
  interrupts.watch()  # first of all: what follows takes seconds to load
import functools
import gc
import os
from pathlib import Path

from absl import app

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # kept programs make XLA log: openxla/xla#44565
from tagjax import cli

gc.set_threshold(100_000)  # or it walks through all that JAX loads and traces, time and again

DEFAULT_CONFIG = Path(__file__).resolve().parent / "configs" / "digits_tag.py"

if __name__ == "__main__":
  parse = functools.partial(cli.parse, default_config=str(DEFAULT_CONFIG))
  with cli.leaving_at_once():
    app.run(cli.main, flags_parser=parse)
