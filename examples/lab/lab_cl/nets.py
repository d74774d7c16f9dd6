"""Networks of the lab's own: one of Flax Linen, one of Flax NNX."""

import flax.linen as nn
from flax import nnx

import tagjax


@tagjax.register("lab_linen", kind="model")
class LinenNet(nn.Module):
  num_outputs: int
  width: int = 32

  @nn.compact
  def __call__(self, x):
    return nn.Dense(self.num_outputs)(nn.relu(nn.Dense(self.width)(x)))


class NnxNet(nnx.Module):
  def __init__(self, num_outputs: int, width: int = 32, *, rngs: nnx.Rngs):
    self.hidden, self.head = (
      nnx.Linear(8, width, rngs=rngs),
      nnx.Linear(width, num_outputs, rngs=rngs),
    )
    self.dropout = nnx.Dropout(0.1, rngs=rngs)

  def __call__(self, x):
    return self.head(self.dropout(nnx.relu(self.hidden(x))))
