"""Split CIFAR-10: the settings of configs/cifar10.py over a grid, chosen on validation examples.

The same grids as configs/cifar_grid.py.

  python launch.py --config=configs/cifar10_grid.py:tag
"""

from configs import cifar10
from configs.common import add_grid


def get_config(argument: str = "tag"):
  return add_grid(cifar10.get_config(argument))
