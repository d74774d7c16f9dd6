import numpy as np
from sklearn.datasets import load_digits

from tagjax import datasets


def test_holds_every_digit_of_scikit_learn_once(same_examples):
  digits = datasets.load("digits")
  bunch = load_digits()
  assert (digits.name, digits.version) == ("digits", "1.0.0")
  assert (digits.num_classes, digits.max_value) == (10, 16)
  assert digits.train.image.shape == (1437, 8, 8, 1)
  assert digits.test.image.shape == (360, 8, 8, 1)
  both = datasets.Examples(
    np.concatenate([digits.train.image, digits.test.image]),
    np.concatenate([digits.train.label, digits.test.label]),
  )
  for array in both:
    array.flags.writeable = False
  same_examples(both, bunch.images.astype(np.uint8), bunch.target)
  assert both.image.max() == digits.max_value


def test_has_each_class_in_proportion_in_the_test_split():
  digits = datasets.load("digits")
  of_class = np.bincount(load_digits().target)
  in_test = np.bincount(digits.test.label, minlength=10)
  assert (np.abs(in_test - of_class / 5) < 1).all()


def test_split_never_changes():
  # Results of different machines and versions are compared, so the split must be one and the same.
  test = datasets.load("digits").test
  weight = np.arange(1, 65).reshape(8, 8, 1)
  checks = np.sort((test.image.astype(np.int64) * weight).sum((1, 2, 3)))
  assert (checks[0], checks[180], checks[-1], checks.sum()) == (6259, 10153, 13964, 3651675)
