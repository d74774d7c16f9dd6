"""What a loaded data set is, and the error for one that cannot be had."""

from typing import NamedTuple

import numpy as np

from tagjax.core.errors import TagjaxError


class DatasetUnavailableError(TagjaxError, OSError):
  """A data set is not here and cannot be made here; the text names the way out."""


class Examples(NamedTuple):
  """The examples of one split, in an order that never changes.

  Attributes:
    image: uint8 `[N, height, width, channels]`, read-only and as a rule memory-mapped.
    label: int32 `[N]`, the class, from 0 to `num_classes - 1`; read-only.
  """

  image: np.ndarray
  label: np.ndarray


class Dataset(NamedTuple):
  """A data set with its two splits.

  Attributes:
    name: the name it was loaded by.
    version: version of the prepared files.
    train: the training examples.
    test: the test examples.
    num_classes: number of classes.
    max_value: the largest value that a stored pixel can have; divide by it to get `[0, 1]`.
    class_names: the name of each class, in the order of the labels; empty where it has none.
    attributes: float32 `[num_classes, num_attributes]`, what distinguishes the classes, as the
      set's authors measured it; None where they did not.
    digest: of the files; changes with them, and not where they lie or when they were made. Empty:
      not known.
  """

  name: str
  version: str
  train: Examples
  test: Examples
  num_classes: int
  max_value: int
  class_names: tuple[str, ...] = ()
  attributes: np.ndarray | None = None
  digest: str = ""
