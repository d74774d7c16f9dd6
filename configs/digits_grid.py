"""Permuted digits: the settings of configs/digits.py over a grid, chosen on validation examples.

The same grids as configs/cifar_grid.py, side by side in one program.

  python launch.py --config=configs/digits_grid.py:tag
"""

from configs import digits
from configs.common import add_grid


def get_config(argument: str = "tag"):
  return add_grid(digits.get_config(argument))
