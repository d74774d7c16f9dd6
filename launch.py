"""Trains a continual learner: python launch.py --config=configs/cifar_tag.py --workdir=DIR.

Several processes train together with --coordinator, or --distributed: docs/scaling.md.
"""

import functools
import os
from pathlib import Path

from absl import app

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # kept programs make XLA log: openxla/xla#44565
from tagjax import cli

DEFAULT_CONFIG = Path(__file__).resolve().parent / "configs" / "digits_tag.py"

if __name__ == "__main__":
  parse = functools.partial(cli.parse, default_config=str(DEFAULT_CONFIG))
  app.run(cli.main, flags_parser=parse)
