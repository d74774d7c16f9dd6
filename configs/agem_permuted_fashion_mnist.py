r"""A-GEM's protocol on permuted Fashion-MNIST: what configs/agem_permuted_mnist.py does elsewhere.

Where MNIST cannot be had. There is no published figure; docs/agem_protocol.md tells what was
measured, on fewer examples a task.

  python launch.py --config=configs/agem_permuted_fashion_mnist.py:agem \
      --config.train_examples_per_task=5000 --config.test_examples_per_task=2000

Needs Fashion-MNIST (docs/data.md).
"""

from configs import agem_permuted_mnist
from configs.agem_permuted_mnist import TUNED as TUNED


def get_config(argument: str = "agem"):
  c = agem_permuted_mnist.get_config(argument)
  c.benchmark = "permuted_fashion_mnist"
  return c
