"""Tiny streams, models and programs for the tests."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tagjax.config import build, settings
from tagjax.core.method import EpochStep
from tagjax.core.types import Batch, StreamSpec
from tagjax.engine.counts import Measures
from tagjax.engine.layout import Layout
from tagjax.engine.learner import make_learner
from tagjax.engine.programs import Programs
from tagjax.engine.train_loop import DEVICE_AXIS
from tagjax.input_pipeline import device_examples
from tagjax.storage import tree_bytes

IMAGE = (4, 4, 1)


class Examples(NamedTuple):
  image: np.ndarray
  label: np.ndarray
  task_id: np.ndarray

  def __len__(self):
    return len(self.label)


class TinyModel(nn.Module):
  """Two dense layers, with batch statistics on request."""

  num_outputs: int
  width: int = 8
  batch_norm: bool = False
  dropout: float = 0.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, task_id, mask, train, features=False):
    del task_id
    x = nn.relu(nn.Dense(self.width)(image.reshape(image.shape[0], -1)))
    if self.batch_norm:
      from tagjax.models.batch_norm import BatchNorm

      x = BatchNorm(axis_name=self.axis_name)(x, mask=mask, train=train)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return x if features else nn.Dense(self.num_outputs)(x)


def spec(scenario="task", num_tasks=3, per_task=2) -> StreamSpec:
  if scenario == "domain":
    return StreamSpec(num_tasks, per_task, np.ones((num_tasks, per_task), bool), scenario, IMAGE)
  outputs = num_tasks * per_task
  classes = np.arange(outputs)[None, :] // per_task == np.arange(num_tasks)[:, None]
  return StreamSpec(num_tasks, outputs, classes, scenario, IMAGE)


def examples(stream: StreamSpec, task: int, size: int = 23, seed: int = 0) -> Examples:
  """Class-conditional noise: each output has its own mean image.

  If the tasks share their outputs, they take turns in which mean image is whose: they conflict.
  """
  rng = np.random.default_rng([seed, task])
  label = rng.choice(np.flatnonzero(stream.classes[task]), size).astype(np.int32)
  means = np.random.default_rng(7).integers(0, 200, (stream.num_outputs, *IMAGE))
  kind = (label + task) % stream.num_outputs if stream.scenario == "domain" else label
  image = (means[kind] + rng.integers(0, 56, (size, *IMAGE))).astype(np.uint8)
  if stream.image_dtype != np.uint8:
    image = image.astype(stream.image_dtype) / np.asarray(255, stream.image_dtype)
  return Examples(image, label, np.full(size, task, np.int32))


def batch(stream: StreamSpec, task: int, size: int = 6) -> Batch:
  data = examples(stream, task, size)
  index = jnp.arange(size, dtype=jnp.int32)
  return Batch(*map(jnp.asarray, data), mask=jnp.ones(size, bool), index=index)


def programs(
  stream: StreamSpec,
  method,
  *,
  model=None,
  batch_size=4,
  num_devices=1,
  layout=None,
  keep_going=False,
  in_order=False,
  continuum=1,
  measures=None,
  **options,
) -> Programs:
  """The compiled programs of a tiny learner; `options` go to the model."""
  layout = layout or Layout(num_devices=num_devices)

  def learner(axis_name):
    network = model or TinyModel(stream.num_outputs, axis_name=axis_name, **options)
    max_value = 255 if stream.image_dtype == np.uint8 else 1
    return make_learner(network, method, stream, axis_name=axis_name, max_value=max_value)

  single = learner(None)
  many = learner(DEVICE_AXIS) if layout.batch_devices > 1 else single
  return Programs(
    many,
    single,
    batch_size=batch_size,
    eval_batch_size=16,
    layout=layout,
    keep_going=keep_going,
    in_order=in_order,
    measures=measures or Measures(continuum, (continuum,)),
  )


def train_stream(
  run: Programs,
  stream: StreamSpec,
  key,
  *,
  size=23,
  batch_size=4,
  tasks=None,
  hyper=None,
  told=False,
  first_epoch=0,
  stops=False,
):
  """Trains each task, one epoch a phase unless it says otherwise; returns the state.

  `key`: one, or one for each seed. `told`: whether methods are told where a step stands.
  `first_epoch`: from which on epochs are counted. `stops`: whether the state is saved and read back
  in the middle of each epoch, and before each task ends.
  """
  state = run.init(jnp.atleast_1d(key), hyper)
  epoch = first_epoch
  for task in range(stream.num_tasks) if tasks is None else tasks:
    data = device_examples.to_device(examples(stream, task, size), size)
    for phase in run.phases:
      steps = -(-(size + run.rehearsal_size(state)) // batch_size)
      for number in range(phase.epochs or 1):
        for start, stop in [(0, 1), (1, steps)] if stops else [(0, steps)]:
          first = EpochStep(task, task, number, number, start, steps) if told else None
          options = {"phase": phase.name, "first": first}
          state, _ = run.train(state, data, task, epoch, start, stop, **options)
          state = tree_bytes.unpack(tree_bytes.pack(state)[1], state) if stops else state
        epoch += 1
      state = run.consolidate(state, data, task, phase=phase.name)
  return state


def readable(tree) -> list[np.ndarray]:
  """The leaves as NumPy arrays; random keys are left out."""
  leaves = jax.tree.leaves(tree)
  is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
  return [np.asarray(leaf) for leaf, key in zip(leaves, is_key, strict=True) if not key]


def named_method(
  method: str, stream: StreamSpec, steps_per_epoch=(3,) * 3, stacked=None, **changes
):
  """The method that a config names, as a function of hyperparameters; keys with dots as `__`."""
  changes = {key.replace("__", "."): value for key, value in changes.items()}
  values = settings.typed({"method": method, **changes})
  return build.build_method(values, stream, steps_per_epoch, stacked)


def evaluate(run: Programs, state, stream: StreamSpec, task: int, current_task: int, size=23):
  """Figures of the state on a task's examples, with an axis of seeds in front."""
  data = device_examples.to_device(examples(stream, task, size, seed=1), size)
  return run.evaluate(run.prepare(state, current_task), data, current_task)
