"""TAG on permuted digits, the default of launch.py: short for `configs/digits.py:tag`."""

from configs.digits import get_config as digits


def get_config():
  return digits("tag")
