import hypothesis
import numpy as np
from hypothesis import strategies as st

from tagjax.datasets import splits


@hypothesis.given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.data())
@hypothesis.settings(deadline=None, max_examples=50)
def test_each_class_is_there_in_proportion(label, data):
  num_test = data.draw(st.integers(0, len(label)))
  is_test = splits.in_proportion(label, num_test)
  assert is_test.sum() == num_test
  of_class = np.bincount(label)
  in_test = np.bincount(np.asarray(label)[is_test], minlength=len(of_class))
  assert (np.abs(in_test - of_class * num_test / len(label)) < 1).all()


def test_the_choice_is_at_random_and_never_changes():
  # Results of different machines and versions are compared, so the split must be one and the same.
  chosen = np.flatnonzero(splits.in_proportion([0] * 20 + [1] * 20, 10))
  assert chosen.tolist() == [4, 7, 13, 18, 19, 22, 24, 29, 33, 39]


def test_named_examples_are_divided_whatever_their_order():
  label = {f"{number:02d}": number % 3 for number in range(30)}
  train, test = splits.divided(label, 9)
  assert train | test == label
  assert not set(train) & set(test)
  assert len(test) == 9
  assert splits.divided(dict(reversed(label.items())), 9) == (train, test)
