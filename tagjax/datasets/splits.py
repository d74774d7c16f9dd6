"""A split of their own for data sets that come without one."""

from collections.abc import Mapping, Sequence

import numpy as np


def in_proportion(label: Sequence[int], num_test: int) -> np.ndarray:
  """Chooses test examples, each class in proportion; the same ones for ever.

  Shuffles with a fixed seed, sorts by class and takes `num_test` examples at even distances. So a
  class of `n` among `N` examples has `n num_test / N` test examples, rounded up or down.

  Args:
    label: the class of each example.
    num_test: the number of test examples, at most as many as there are examples.

  Returns:
    bool `[N]`, True for the test examples.

  >>> int(in_proportion([0] * 10 + [1] * 30, 8)[:10].sum())
  2
  """
  label = np.asarray(label)
  # RandomState and not Generator: NumPy promises that its stream stays the same for ever.
  shuffled = np.random.RandomState(0).permutation(len(label))
  by_class = shuffled[np.argsort(label[shuffled], kind="stable")]
  is_test = np.zeros(len(label), bool)
  is_test[by_class[np.arange(num_test) * len(label) // max(num_test, 1)]] = True
  return is_test


def divided(label: Mapping[str, int], num_test: int) -> tuple[dict[str, int], dict[str, int]]:
  """Training and test examples of a set of named ones, see `in_proportion`.

  Args:
    label: the class of each example, under its name. The order of the names has no influence.
    num_test: the number of test examples.

  Returns:
    The class of each training example and of each test example, under its name.
  """
  names = sorted(label)
  is_test = in_proportion([label[name] for name in names], num_test).tolist()
  train = {name: label[name] for name, of_test in zip(names, is_test, strict=True) if not of_test}
  test = {name: label[name] for name, of_test in zip(names, is_test, strict=True) if of_test}
  return train, test
