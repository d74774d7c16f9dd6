"""Split CIFAR-100: the settings of configs/cifar.py over a grid, chosen on validation examples.

The grids that the TAG paper's authors searched for configs/cifar.py. An hour or more on a GPU,
days on a CPU, where `--config.seeds=1` and `:tag,runlocal` are a beginning.

  python launch.py --config=configs/cifar_grid.py:tag
"""

from configs import cifar
from configs.common import add_grid


def get_config(argument: str = "tag"):
  return add_grid(cifar.get_config(argument))
