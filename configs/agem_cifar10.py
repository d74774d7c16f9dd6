"""A-GEM's protocol on CIFAR-10, in small: one task of 2 classes chooses, 4 are judged, RESNET-S.

What configs/agem_cifar.py does, where CIFAR-100 cannot be had. There is no published figure;
docs/agem_protocol.md tells what was measured.

  python launch.py --config=configs/agem_cifar10.py:agem --config.train_examples_per_task=1000

Needs CIFAR-10 (docs/data.md).
"""

from configs.agem_cifar import CHOSEN
from configs.common import agem_protocol, agem_tuned
from tagjax.config.defaults import base_config

TUNED = agem_tuned(CHOSEN, memory=(13, 32))


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "split_cifar10"
  c.num_tasks = 5
  c.model = "resnet_s"
  c.normalization = "mean_image"
  c = agem_protocol(c, TUNED, argument)
  c.tuning.tasks = 1
  return c
