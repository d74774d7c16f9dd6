"""TAG on split CIFAR-10: short for `configs/cifar10.py:tag`."""

from configs.cifar10 import get_config as cifar10


def get_config():
  return cifar10("tag")
