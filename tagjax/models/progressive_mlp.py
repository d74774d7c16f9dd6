"""Progressive networks of linear layers, in A-GEM's form: laterals lead into every layer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tagjax.core.by_task import by_task
from tagjax.core.register import register
from tagjax.core.types import StreamSpec, Variables
from tagjax.models import initializers
from tagjax.models.checks import check_widths
from tagjax.models.task_head import Classes, outputs_by_task, placed
from tagjax.models.task_rows import drawn_by_task, narrowed, row_of


class ProgressiveMLP(nn.Module):
  """A perceptron for each task, with laterals from those of the tasks before into each layer.

  In column t, with h_{q,0} the flattened image for all columns q,

      h_{t,l+1} = ReLU(h_{t,l} W + b + Σ_{q<t} (h_{q,l} U_q + u_q))

  and no ReLU after the last layer, which gives the logits. No gradient reaches earlier columns, and
  of the columns only those up to the task's are computed.

  Parameters: `layer{l}` has the subtrees `task` and `lateral`, all with a row a task
  (`tagjax.task_stacked`); a row of `lateral` has one for each earlier task, and is 0 elsewhere.

  Attributes:
    num_outputs: K, the outputs of the stream.
    classes: the outputs of each task, T tuples.
    hidden: widths of the hidden layers, at least 1.
    compute_dtype: of the products and hidden units; see `tagjax.models`.

  References:
    Rusu et al. Progressive Neural Networks. 2016, arXiv:1606.04671. The form is that of the code of
      Chaudhry, Ranzato, Rohrbach, Elhoseiny. Efficient Lifelong Learning with A-GEM. ICLR 2019.
  """

  num_outputs: int
  classes: Classes
  hidden: tuple[int, ...] = (256, 256)
  compute_dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_widths(hidden=tuple(self.hidden))
    super().__post_init__()

  @nn.compact
  def __call__(
    self, image: chex.Array, *, task_id: chex.Array, mask: chex.Array, train: bool
  ) -> chex.Array:
    """Computes the logits, each row by the column of its task.

    Args:
      image: float `[B, ...]`.
      task_id: int32 `[B]`.
      mask: bool `[B]`; other rows are computed as of any task.
      train: unused.

    Returns:
      float32 `[B, K]`, 0 at the outputs of other tasks, NaN for tasks beyond the T that the network
      has.
    """
    del train
    x = image.reshape(len(image), -1).astype(self.compute_dtype)
    params = self._parameters(x.shape[-1])
    num_tasks = len(self.classes)

    def forward(task):
      logits = self._column(x, row_of(params, task), self._earlier(x, params, task), task)[-1]
      return placed(logits, task, self.classes, self.num_outputs)

    return by_task(forward, num_tasks, task_id, mask)

  def parameters_in_use(
    self, variables: Variables, used: Mapping[str, Any], tasks: chex.Array
  ) -> Mapping[str, Any]:
    """Without the laterals that no column has; see `TransferCNN.parameters_in_use`."""
    del variables, tasks
    exists = _exists(len(self.classes))
    return {
      name: {
        part: narrowed(leaves, exists) if part == "lateral" else leaves
        for part, leaves in parts.items()
      }
      for name, parts in used.items()
    }

  def _parameters(self, inputs: int) -> dict[str, Any]:
    params = {}
    for layer, outputs in enumerate([*self.hidden, max(map(len, self.classes))]):
      draw = functools.partial(_drawn, (inputs, outputs), len(self.classes))
      params[f"layer{layer}"] = self.param(f"layer{layer}", draw)
      inputs = outputs
    return params

  def _earlier(self, x, params, task) -> list[chex.Array]:
    """What goes into each layer in the columns before `task`, `[T - 1, B, ...]`; elsewhere 0."""
    number, params = len(self.classes) - 1, jax.lax.stop_gradient(params)
    widths = [x.shape[-1], *self.hidden]
    maps = [jnp.zeros((number, len(x), width), x.dtype) for width in widths]

    def add(column, maps):
      made = [x, *self._column(x, row_of(params, column), maps, column)[:-1]]
      return [rows.at[column].set(one) for rows, one in zip(maps, made, strict=True)]

    return jax.lax.fori_loop(0, task, add, maps) if number else maps

  def _computed(self, leaf: chex.Array) -> chex.Array:
    return leaf.astype(self.compute_dtype)

  def _column(self, x, layers, earlier, task) -> list[chex.Array]:
    """What each layer of one column gives."""
    made = []
    for layer, maps in enumerate(earlier):
      own = jax.tree.map(self._computed, layers[f"layer{layer}"])
      x = x @ own["task"]["kernel"] + own["task"]["bias"].reshape(1, -1)
      if len(maps):
        is_before = (jnp.arange(len(maps)) < task).astype(x.dtype)
        x = x + jnp.einsum("q,qbi,qio->bo", is_before, maps, own["lateral"]["kernel"])
        x = x + jnp.einsum("q,qo->o", is_before, own["lateral"]["bias"]).reshape(1, -1)
      x = x if layer == len(self.hidden) else nn.relu(x)
      made.append(x)
    return made


def _drawn(shape: tuple[int, int], num_tasks: int, key: chex.PRNGKey) -> dict[str, Any]:
  """The parameters of a layer; laterals start as the layer does."""
  kernel, bias = initializers.torch_kernel, initializers.torch_bias(shape[0])
  keys = iter(jax.random.split(key, 4))
  own = {"kernel": drawn_by_task(kernel, num_tasks)(next(keys), shape)}
  own["bias"] = drawn_by_task(bias, num_tasks)(next(keys), shape[1:])
  if num_tasks == 1:
    return {"task": own}
  there, lateral = _exists(num_tasks), {}
  for leaf, initializer, size in (("kernel", kernel, shape), ("bias", bias, shape[1:])):
    drawn = drawn_by_task(_of_pairs(initializer, num_tasks - 1), num_tasks)(next(keys), size)
    exists = there.reshape(*there.shape, *[1] * len(size))
    value = jnp.where(exists, drawn.value, 0)
    lateral[leaf] = drawn.replace(value=value, names=(*drawn.names, None))
  return {"task": own, "lateral": lateral}


def _exists(num_tasks: int) -> np.ndarray:
  """Bool `[T, T - 1]`: whether a lateral leads into the column (row) from the earlier one."""
  return np.arange(num_tasks - 1)[None, :] < np.arange(num_tasks)[:, None]


def _of_pairs(initializer: Callable, number: int) -> Callable:
  """The initializer of one lateral, for each earlier column."""

  def draw(key, shape, dtype=jnp.float32):
    return jax.vmap(lambda key: initializer(key, shape, dtype))(jax.random.split(key, number))

  return draw


@register("prognn_mlp", kind="model")
def prognn_mlp(
  spec: StreamSpec,
  *,
  hidden: tuple[int, ...] = (256, 256),
  compute_dtype: jnp.dtype = jnp.float32,
) -> ProgressiveMLP:
  """Progressive networks of linear layers, with laterals into every layer, as A-GEM has them.

  Args:
    spec: the stream, of the scenario `"task"`.
    hidden: widths of the hidden layers, at least 1.
    compute_dtype: see `ProgressiveMLP`.

  Raises:
    ValueError: if the scenario is not `"task"`, or a width is less than 1.
  """
  classes = outputs_by_task(spec, "prognn_mlp")
  return ProgressiveMLP(spec.num_outputs, classes, hidden, compute_dtype)
