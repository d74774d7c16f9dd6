"""Models, in Flax Linen: one architecture a file.

All are called as `module(image, *, task_id, mask, train)` and return logits `[B, K]`: `image`
float32 `[B, ...]`, already normalised; `task_id` int32 `[B]`; `mask` bool `[B]`, False for rows
that only fill the batch up; `train` static. With `features=True` they return the input of the head,
float32 `[B, d]`. Collections: "params" and "batch_stats"; random key:
"dropout".

`compute_dtype` is that of matrix products, convolutions and what passes between layers. Parameters,
statistics of batches and logits are float32 whatever it is, and so is every gradient.
"""

from tagjax.models.agem_resnet import resnet_b, resnet_s
from tagjax.models.alexnet import AlexNet
from tagjax.models.batch_norm import BatchNorm
from tagjax.models.cifar_alexnet import CifarAlexNet
from tagjax.models.convolution import Conv
from tagjax.models.dfcnn import dfcnn
from tagjax.models.gated import (
  GatedNetwork,
  attention_cnn,
  attention_mlp,
  expandable_cnn,
  expandable_mlp,
)
from tagjax.models.hps import hps
from tagjax.models.joint_embedding import JointEmbedding, joint_embedding
from tagjax.models.lasem_cnn import LasemCNN
from tagjax.models.lenet import LeNet
from tagjax.models.mlp import MLP
from tagjax.models.progressive_cnn import ProgressiveCNN, prognn
from tagjax.models.progressive_mlp import ProgressiveMLP, prognn_mlp
from tagjax.models.reduced_resnet import ReducedResNet
from tagjax.models.resnet18 import ResNet18
from tagjax.models.rps_net import RPSNet
from tagjax.models.tf import tf
from tagjax.models.transfer_cnn import TransferCNN

__all__ = [
  "MLP",
  "AlexNet",
  "BatchNorm",
  "CifarAlexNet",
  "Conv",
  "GatedNetwork",
  "JointEmbedding",
  "LasemCNN",
  "LeNet",
  "ProgressiveCNN",
  "ProgressiveMLP",
  "RPSNet",
  "ReducedResNet",
  "ResNet18",
  "TransferCNN",
  "attention_cnn",
  "attention_mlp",
  "dfcnn",
  "expandable_cnn",
  "expandable_mlp",
  "hps",
  "joint_embedding",
  "prognn",
  "prognn_mlp",
  "resnet_b",
  "resnet_s",
  "tf",
]
