"""Split Tiny ImageNet: 4 tasks of 50 classes, reduced ResNet, one epoch, batches of 10.

The data set of the PyTorch repository of MAS (Aljundi et al., ECCV 2018), in its four tasks. That
repository trains AlexNet, with ImageNet's weights, on pictures magnified to 224 x 224; here the
pictures keep their 64 x 64. It reports forgetting of 10.2, 7.6, 4.1 and 0 % for tasks of 25
classes, made while its penalty had no effect: no figure to compare with.

`mas` states that repository's settings: AlexNet, SGD without momentum, learning rate 0.001 that
falls by ten every 20 epochs, 10 epochs (so it never falls), batches of 32, strength 0.01. With
`config.pretrained=FILE` it starts from torchvision's weights, as there; `config.freeze` takes the
place of its `num_freeze_layers`: "('conv0/*', 'conv1/*')". The learning rates of the others are
those of split miniImageNet (configs/mini_imagenet.py), not tuned; nor are the strengths of MAS and
SI, the defaults.

  python launch.py --config=configs/tiny_imagenet.py:mas+tag
  python launch.py --config=configs/tiny_imagenet.py:tag --config.num_tasks=10    # of 20 classes

Needs Tiny ImageNet (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 300
examples of each of two tasks.
"""

from configs.common import LOCAL, choose, compositions
from configs.mini_imagenet import COMBINED
from configs.mini_imagenet import TUNED as NEAREST
from tagjax.config.defaults import base_config

MAS = {
  "model": "alexnet",
  "normalization": "imagenet",
  "learning_rate": 0.001,
  "schedule": "step",
  "step.every": 20,
  "step.factor": 0.1,
  "epochs": 10,
  "batch_size": 32,
  "mas.strength": 0.01,
}
TUNED = {**NEAREST, **compositions(COMBINED, {"mas": {}, "si": {}}), "mas": MAS}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_tiny_imagenet"
  c.num_tasks = 4
  c.model = "reduced_resnet"
  c.normalization = "signed"
  c.mas.examples = 1000  # of the 25000 of a task: each takes a gradient of its own
  return choose(c, TUNED, argument, {**LOCAL, "end_task": 2})
