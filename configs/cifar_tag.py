"""TAG on split CIFAR-100: short for `configs/cifar.py:tag`."""

from configs.cifar import get_config as cifar


def get_config():
  return cifar("tag")
