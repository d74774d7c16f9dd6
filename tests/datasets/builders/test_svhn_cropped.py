import io

import numpy as np
import pytest
import scipy.io

from tagjax import datasets
from tagjax.datasets.builders import svhn_cropped


def _mat(image, label) -> bytes:
  """A MATLAB file as the official ones are: images last but one another, labels a column."""
  buffer = io.BytesIO()
  scipy.io.savemat(
    buffer, {"X": np.moveaxis(image, 0, -1), "y": label[:, np.newaxis]}, do_compression=True
  )
  return buffer.getvalue()


@pytest.fixture
def examples(random_examples):
  """Images of both splits, with labels from 1 to 10."""
  splits = [random_examples(seed, 30, (32, 32, 3), 10) for seed in (1, 2)]
  return [(image, label + np.uint8(1)) for image, label in splits]


def _offer(offer, train, test):
  files = {"train_32x32.mat": _mat(*train), "test_32x32.mat": _mat(*test)}
  return offer(svhn_cropped.SvhnCropped, files)


def test_prepares_the_official_files(examples, offer, same_examples, data_dir):
  train, test = examples
  _offer(offer, train, test)
  loaded = datasets.load("svhn_cropped")
  same_examples(loaded.train, train[0], np.where(train[1] == 10, 0, train[1]))
  same_examples(loaded.test, test[0], np.where(test[1] == 10, 0, test[1]))
  assert (loaded.version, loaded.num_classes, loaded.max_value) == ("3.1.0", 10, 255)
  assert loaded.class_names == tuple("0123456789")
  assert (data_dir / "svhn_cropped" / "3.1.0" / "features.json").is_file()


def test_the_digit_0_has_label_0(examples, offer):
  train, test = examples
  train[0][:] = np.arange(30, dtype=np.uint8)[:, None, None, None]
  train[1][:] = 1
  train[1][7] = 10
  _offer(offer, train, test)
  loaded = datasets.load("svhn_cropped").train
  (row,) = np.flatnonzero(loaded.label == 0)
  assert (loaded.image[row] == 7).all()


@pytest.mark.parametrize(
  ("image", "label", "message"),
  [
    (np.zeros((5, 28, 28, 3), np.uint8), np.ones(5), r"holds X uint8 \(28, 28, 3, 5\)"),
    (np.zeros((5, 32, 32, 3)), np.ones(5), "holds X float64"),
    (np.zeros((5, 32, 32, 3), np.uint8), np.ones(4), r"y \(4, 1\)"),
    (np.zeros((5, 32, 32, 3), np.uint8), np.arange(5), "labels from 0 to 4, not from 1 to 10"),
  ],
)
def test_a_file_that_holds_something_else_is_named(examples, offer, image, label, message):
  _offer(offer, (image, label), examples[1])
  with pytest.raises(datasets.DatasetUnavailableError, match=rf"train_32x32\.mat .*{message}"):
    datasets.load("svhn_cropped")


def test_a_file_without_its_variables_is_named(offer, examples):
  buffer = io.BytesIO()
  scipy.io.savemat(buffer, {"Z": np.zeros(3)})
  files = {"train_32x32.mat": buffer.getvalue(), "test_32x32.mat": _mat(*examples[1])}
  offer(svhn_cropped.SvhnCropped, files)
  with pytest.raises(datasets.DatasetUnavailableError, match=r"holds X .* \(0,\)"):
    datasets.load("svhn_cropped")
