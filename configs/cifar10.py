"""Split CIFAR-10: 5 tasks of 2 classes, reduced ResNet, one epoch, batches of 10, pixels -1 to 1.

The values are those that the TAG paper's authors chose on split CIFAR-100 (configs/cifar.py). The
methods that they did not try have the learning rate of their optimizer; the strengths of MAS and SI
were chosen on validation examples (docs/tuning_cifar10.md). Measured: docs/results.md.

  python launch.py --config=configs/cifar10.py:tag --config.seeds=3
  python launch.py --config=configs/cifar10.py:derpp+tag --config.memory.capacity=10

Needs CIFAR-10 (docs/data.md). A seed took 9 to 38 minutes on two CPU cores that had other work as
well (docs/results.md); `:tag,runlocal` trains on 300 examples a task.
"""

from configs.cifar import TUNED as AUTHORS
from configs.common import choose
from tagjax.config.defaults import base_config

SGD, TAG = AUTHORS["sgd"], AUTHORS["tag"]
TUNED = AUTHORS | {
  "mas": SGD | {"mas.strength": 0.1},
  "mas+tag": TAG | {"mas.strength": 1.0},
  "si": SGD | {"si.strength": 0.001},  # 0.01 diverges, docs/tuning_cifar10.md
  "si+tag": TAG | {"si.strength": 1.0},
  "derpp": SGD,
  "derpp+tag": TAG,
  "gem": SGD,
  "gem+tag": TAG,
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cifar10"
  c.num_tasks = 5
  c.model = "reduced_resnet"
  c.normalization = "signed"
  c.forgetting = "tag"
  c.mas.examples = 1000  # of the 10000 of a task: each takes a gradient of its own
  return choose(c, TUNED, argument)
