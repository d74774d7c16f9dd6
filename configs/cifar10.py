"""Split CIFAR-10: 5 tasks of 2 classes, reduced ResNet, one epoch, batches of 10, pixels -1 to 1.

The values are those that the TAG paper's authors chose on split CIFAR-100 (configs/cifar.py).
Measured: docs/results.md.

  python launch.py --config=configs/cifar10.py:tag --config.seeds=3

Needs CIFAR-10 (docs/data.md). The time of a whole seed is not measured yet;
`:tag,runlocal`
trains on 300 examples a task.
"""

from configs.cifar import TUNED
from configs.common import choose
from tagjax.config import base_config


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cifar10"
  c.num_tasks = 5
  c.model = "reduced_resnet"
  c.normalization = "signed"
  c.forgetting = "tag"
  return choose(c, TUNED, argument)
