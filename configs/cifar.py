"""Split CIFAR-100: 20 tasks of 5 classes, reduced ResNet, one epoch, batches of 10.

The benchmark of the TAG paper (Malviya, Ravindran, Chandar, CoLLAs 2022), with the values that its
authors chose for each method. Recorded by the authors, 5 seeds, average accuracy in %: SGD 51.4,
RMSProp 48.9, TAG-RMSProp 62.8, Adagrad 51.0, TAG-Adagrad 63.2, Adam 48.7, TAG-Adam 62.1, stable
SGD 57.0.

  python launch.py --config=configs/cifar.py:tag --config.seeds=5

Needs CIFAR-100 (docs/data.md). The time of a whole seed is not measured yet;
`:tag,runlocal`
trains on 300 examples a task.
"""

from configs.common import choose
from tagjax.config import base_config

TUNED = {
  "sgd": {"learning_rate": 0.1},
  "rmsprop": {"learning_rate": 0.005},
  "adagrad": {"learning_rate": 0.01},
  "adam": {"learning_rate": 0.005},
  "tag": {"learning_rate": 0.00025, "tag.b": 5.0},
  "tag_rmsprop": {"learning_rate": 0.00025, "tag.b": 5.0},
  "tag_adagrad": {"learning_rate": 0.005, "tag.b": 5.0},
  "tag_adam": {"learning_rate": 0.0005, "tag.b": 5.0},
  "stable_sgd": {"learning_rate": 0.1, "stable_sgd.decay": 0.9, "dropout": 0.1},
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cifar100"
  c.num_tasks = 20
  c.model = "reduced_resnet"
  c.forgetting = "tag"
  return choose(c, TUNED, argument)
