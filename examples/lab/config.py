"""A config file of the lab's own: importing the package makes its names known.

python launch.py --config=examples/lab/config.py:pull+sgd --config.pull.strength=3
"""

import pathlib
import sys

from tagjax.config.defaults import base_config

sys.path.append(str(pathlib.Path(__file__).parent))
import lab_cl  # noqa: F401


def get_config(method: str = "pull+tag"):
  c = base_config()
  c.method, c.model = method, "lab_linen"
  c.benchmark = "bells"
  c.learning_rate = 0.05
  return c
