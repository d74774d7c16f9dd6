"""Networks: one of Flax Linen, with a name, and one of Flax NNX, without."""

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


class NnxNet(nnx.Sequential):
  def __init__(self, num_outputs: int, width: int = 32, *, rngs: nnx.Rngs):
    hidden, head = nnx.Linear(8, width, rngs=rngs), nnx.Linear(width, num_outputs, rngs=rngs)
    super().__init__(hidden, nnx.relu, head)
