"""Batches, variables and the shape of a stream: the data that everything passes on."""

from collections.abc import Mapping
from typing import NamedTuple

import chex
import numpy as np

Variables = Mapping[str, chex.ArrayTree]
"""What a Flax model holds: `{"params": tree, "batch_stats": tree, ...}`."""


Scenario = str
"""`"task"`, `"class"` or `"domain"`: what is known of the task (see `StreamSpec`)."""


SCENARIOS = ("task", "class", "domain")


Hyper = Mapping[str, chex.Array]
"""Hyperparameters by their keys in the config, float32 scalars: inputs of the compiled programs."""


class Batch(NamedTuple):
  """A batch of examples, as stored: images are normalised inside the model's forward pass.

  Attributes:
    image: `[B, ...]`, the stored dtype (uint8 as a rule).
    label: int32 `[B]`, index of the output that should be largest.
    task_id: int32 `[B]`, the task that each example belongs to.
    mask: bool `[B]`, False where a row only fills the batch up and must not count.
  """

  image: chex.Array
  label: chex.Array
  task_id: chex.Array
  mask: chex.Array


class StreamSpec(NamedTuple):
  """The shapes and the head of a stream of tasks; static, known before anything is compiled.

  Attributes:
    num_tasks: T.
    num_outputs: K, the outputs of the head.
    classes: bool `[T, K]`, the outputs that task t teaches.
    scenario: `"task"`: the task of an example is known in training and at test, the softmax runs
      over that task's outputs. `"class"`: it is not known at test, the softmax runs over all
      outputs seen so far. `"domain"`: all tasks share all outputs.
    image_shape: shape of one image.
  """

  num_tasks: int
  num_outputs: int
  classes: np.ndarray
  scenario: Scenario
  image_shape: tuple[int, ...]
