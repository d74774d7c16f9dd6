"""Split Tiny ImageNet: 4 tasks of 50 classes, reduced ResNet, one epoch, batches of 10.

The data set of the PyTorch repository of MAS (Aljundi et al., ECCV 2018), in its four tasks. That
repository trains AlexNet, with ImageNet's weights, on pictures magnified to 224 x 224; here the
pictures keep their 64 x 64. It reports forgetting of 10.2, 7.6, 4.1 and 0 % for tasks of 25
classes, made while its penalty had no effect: no figure to compare with.

The learning rates are those of split miniImageNet (configs/mini_imagenet.py), not tuned; nor are
the strengths of MAS and SI, the defaults.

  python launch.py --config=configs/tiny_imagenet.py:mas+tag
  python launch.py --config=configs/tiny_imagenet.py:tag --config.num_tasks=10    # of 20 classes

Needs Tiny ImageNet (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 300
examples of each of two tasks.
"""

from configs.common import LOCAL, choose, compositions
from configs.mini_imagenet import COMBINED
from configs.mini_imagenet import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {**NEAREST, **compositions(COMBINED, {"mas": {}, "si": {}})}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_tiny_imagenet"
  c.num_tasks = 4
  c.model = "reduced_resnet"
  c.normalization = "signed"
  c.mas.examples = 1000  # of the 25000 of a task: each takes a gradient of its own
  return choose(c, TUNED, argument, {**LOCAL, "end_task": 2})
