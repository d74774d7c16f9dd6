"""Models, in Flax Linen: one architecture a file.

All are called as `module(image, *, task_id, mask, train)` and return logits `[B, K]`: `image`
float32 `[B, ...]`, already normalised; `task_id` int32 `[B]`; `mask` bool `[B]`, False for rows
that only fill the batch up; `train` static. Collections: "params" and "batch_stats"; random key:
"dropout".

`compute_dtype` is that of matrix products, convolutions and what passes between layers. Parameters,
statistics of batches and logits are float32 whatever it is, and so is every gradient.
"""

from tagjax.models.batch_norm import BatchNorm
from tagjax.models.convolution import Conv
from tagjax.models.mlp import MLP
from tagjax.models.reduced_resnet import ReducedResNet

__all__ = ["MLP", "BatchNorm", "Conv", "ReducedResNet"]
