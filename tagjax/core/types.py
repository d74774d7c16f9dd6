"""Batches, variables and the shape of a stream: the data that everything passes on."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import chex
import numpy as np
from numpy.typing import DTypeLike

Variables = Mapping[str, chex.ArrayTree]
"""What a Flax model holds: `{"params": tree, "batch_stats": tree, ...}`."""


Scenario = Literal["task", "class", "domain"]
"""What is known of the task (see `StreamSpec`)."""


SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


Hyper = Mapping[str, chex.Array]
"""Hyperparameters by their keys in the config, float32 scalars: inputs of the compiled programs."""


class PartlyDefined(NamedTuple):
  """An array that is undefined in places, without NaN, which `jax.debug_nans` would stop at.

  Attributes:
    value: array; 0 where it is undefined.
    defined: bool array of the same shape.
  """

  value: chex.Array
  defined: chex.Array


class _Columns(NamedTuple):
  image: chex.Array
  label: chex.Array
  task_id: chex.Array
  mask: chex.Array
  index: chex.Array


class Batch(_Columns):
  """A batch of examples, as stored: images are normalised inside the model's forward pass.

  Attributes:
    image: `[B, ...]`, the stored dtype (`StreamSpec.image_dtype`).
    label: int32 `[B]`, index of the output that should be largest.
    task_id: int32 `[B]`, the task that each example belongs to.
    mask: bool `[B]`, False where a row only fills the batch up and must not count.
    index: int32 `[B]`, the row of each example in the training set that first showed it, in
      data-set order; -1 where that is unknown, which is the default, and in evaluation.

  >>> rows = np.zeros(2, np.int32)
  >>> Batch(np.zeros((2, 8, 8, 1)), rows, rows, rows == 0).index
  array([-1, -1], dtype=int32)
  """

  __slots__ = ()

  def __new__(cls, image, label, task_id, mask, index=None):
    if index is None and hasattr(mask, "shape"):
      index = np.full(mask.shape, -1, np.int32)
    return super().__new__(cls, image, label, task_id, mask, index)


class StreamSpec(NamedTuple):
  """The shapes and the head of a stream of tasks; static, known before anything is compiled.

  Attributes:
    num_tasks: T.
    num_outputs: K, the outputs of the head.
    classes: bool `[T, K]`, the outputs that task t teaches.
    scenario: `"task"`: the task of an example is known in training and at test, the softmax runs
      over that task's outputs. `"class"`: it is not known at test, the softmax runs over all
      outputs seen so far. `"domain"`: all tasks share all outputs.
    image_shape: shape of one image; or of whatever an example is, such as a vector of features.
    image_dtype: of the images as they are stored, on the device and in memories of exemplars.
      Integers that are not uint8 are tokens, see `holds_tokens`.
    attributes: float32 `[K, a]`, what distinguishes the classes of the outputs, zero where that is
      unknown or none of the stream's tasks has the class. None if it is known of no class, or not
      the same for all tasks: outputs that stand for several classes, or several numbers of
      attributes.
  """

  num_tasks: int
  num_outputs: int
  classes: np.ndarray
  scenario: Scenario
  image_shape: tuple[int, ...]
  image_dtype: np.dtype = np.dtype(np.uint8)
  attributes: np.ndarray | None = None


def holds_tokens(dtype: DTypeLike) -> bool:
  """Whether such values are tokens (words, say): the model gets them as they are, as integers.

  >>> holds_tokens(np.int32), holds_tokens(np.uint8), holds_tokens(np.float32)
  (True, False, False)
  """
  return np.issubdtype(dtype, np.integer) and np.dtype(dtype) != np.uint8
