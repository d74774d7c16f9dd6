"""The training loops that one would write by hand for one network and one method, in plain JAX.

They are what `bench/step_floor.py` measures tagjax against: no method, no model, no stream; only
the arithmetic of a step, inside one compiled `fori_loop`. Images are stored as bytes and every
batch is gathered by the epoch's order, since that is how the data lie in any training.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RATE = 1e-3


class Data(NamedTuple):
  """`image` uint8 `[N, ...]`, `label` and `task_id` int32 `[N]`."""

  image: jax.Array
  label: jax.Array
  task_id: jax.Array


class Memory(NamedTuple):
  """A reservoir: `data` of as many rows as it holds, and the examples seen, int32."""

  data: Data
  seen: jax.Array


def init_params(key, widths):
  """Kernels and biases of a perceptron, uniform as PyTorch draws them."""
  params = []
  for inputs, outputs in itertools.pairwise(widths):
    key, kernel_key, bias_key = jax.random.split(key, 3)
    bound = inputs**-0.5
    kernel = jax.random.uniform(kernel_key, (inputs, outputs), minval=-bound, maxval=bound)
    params.append((kernel, jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)))
  return params


def empty_memory(capacity: int, data: Data) -> Memory:
  blank = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), data)
  return Memory(blank, jnp.zeros((), jnp.int32))


def loss_fn(params, batch: Data, mask, classes):
  """Mean cross-entropy over the outputs of each example's task."""
  x = batch.image.reshape(batch.image.shape[0], -1).astype(jnp.float32) / 255
  for kernel, bias in params[:-1]:
    x = jax.nn.relu(x @ kernel + bias)
  kernel, bias = params[-1]
  logits = jnp.where(classes[batch.task_id], x @ kernel + bias, -1e9)
  value = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.label[:, None], axis=1)[:, 0]
  return jnp.sum(jnp.where(mask, value, 0)) / jnp.maximum(jnp.sum(mask), 1)


def descend(params, grads):
  return jax.tree.map(lambda p, g: p - RATE * g, params, grads)


def rows_of_batches(key, size: int, batch_size: int):
  return jax.random.permutation(key, size).reshape(-1, batch_size)


def sgd_loop(params, data: Data, classes: np.ndarray, key, steps, batch_size: int):
  """`steps` steps of SGD; returns the parameters and the sum of the losses."""
  order = rows_of_batches(key, data.label.shape[0], batch_size)
  everywhere = jnp.ones(batch_size, bool)
  classes = jnp.asarray(classes)

  def body(index, carry):
    params, total = carry
    batch = jax.tree.map(lambda x: x[order[index]], data)
    loss, grads = jax.value_and_grad(loss_fn)(params, batch, everywhere, classes)
    return descend(params, grads), total + loss

  return jax.lax.fori_loop(0, steps, body, (params, jnp.zeros(())))


def er_loop(params, memory: Memory, data: Data, classes: np.ndarray, key, steps, batch_size: int):
  """The same with experience replay: each step also follows the loss of a batch from the memory."""
  order_key, loop_key = jax.random.split(key)
  order = rows_of_batches(order_key, data.label.shape[0], batch_size)
  everywhere = jnp.ones(batch_size, bool)
  classes = jnp.asarray(classes)

  def body(index, carry):
    params, memory, total = carry
    draw_key, place_key = jax.random.split(jax.random.fold_in(loop_key, index))
    batch = jax.tree.map(lambda x: x[order[index]], data)
    loss, grads = jax.value_and_grad(loss_fn)(params, batch, everywhere, classes)
    replay, there = draw(memory, draw_key, batch_size)
    more = jax.grad(loss_fn)(params, replay, there, classes)
    grads = jax.tree.map(jnp.add, grads, more)
    return descend(params, grads), write(memory, batch, place_key), total + loss

  return jax.lax.fori_loop(0, steps, body, (params, memory, jnp.zeros(())))


def draw(memory: Memory, key, count: int):
  """`count` exemplars without replacement, and which of them are there."""
  capacity = memory.data.label.shape[0]
  is_held = jnp.arange(capacity) < memory.seen
  best, places = jax.lax.top_k(jnp.where(is_held, jax.random.uniform(key, (capacity,)), -1), count)
  return jax.tree.map(lambda x: x[places], memory.data), best >= 0


def write(memory: Memory, batch: Data, key) -> Memory:
  """Offers the batch to the reservoir, row by row."""
  capacity, rows = memory.data.label.shape[0], batch.label.shape[0]
  number = memory.seen + jnp.arange(rows)
  drawn = jax.random.randint(key, (rows,), 0, number + 1)
  place = jnp.where(number < capacity, number, drawn)
  data = jax.tree.map(lambda held, new: held.at[place].set(new, mode="drop"), memory.data, batch)
  return Memory(data, memory.seen + rows)
