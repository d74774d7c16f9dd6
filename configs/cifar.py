"""Split CIFAR-100: 20 tasks of 5 classes, reduced ResNet, one epoch, batches of 10.

The benchmark of the TAG paper (Malviya, Ravindran, Chandar, CoLLAs 2022), with the values that its
authors chose for each method. Recorded by the authors, 5 seeds, average accuracy in %:

  sgd 51.4   rmsprop 48.9   tag 62.8   adagrad 51.0   tag_adagrad 63.2   adam 48.7   tag_adam 62.1
  ewc 49.1   agem 54.3   er 59.1   stable_sgd 57.0   multitask 67.8
  ewc+tag 64.0   agem+tag 64.8   er+tag 66.6
  ewc+rmsprop 51.5   agem+rmsprop 49.5   er+rmsprop 49.7

Each is one command:

  python launch.py --config=configs/cifar.py:er+tag --config.seeds=5

One exemplar is kept of each class (`--config.memory.capacity=2`, 3, 5, 10 for the paper's other
sizes); one epoch a task (`--config.epochs=5` for the paper's appendix). Their EWC took the mask
of the wrong task: `--config.ewc.variant=tag-ref` does as well, the default does not; their ER
fills its memory by the batch: `--config.er.variant=reference`.

The other cuts of CIFAR-100 that papers use: `--config.num_tasks=10` is 10 tasks of 10 classes, and
`--config.num_tasks=5` 5 tasks of 20, both of iTAML, class-incremental
(configs/itaml_cifar.py). The values below are not tuned for them.

Needs CIFAR-100 (docs/data.md). The time of a whole seed is not measured yet; `:tag,runlocal`
trains on 300 examples a task.
"""

from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = {
  "sgd": {"learning_rate": 0.1},
  "rmsprop": {"learning_rate": 0.005},
  "adagrad": {"learning_rate": 0.01},
  "adam": {"learning_rate": 0.005},
  "tag": {"learning_rate": 0.00025, "tag.b": 5.0},
  "tag_rmsprop": {"learning_rate": 0.00025, "tag.b": 5.0},
  "tag_adagrad": {"learning_rate": 0.005, "tag.b": 5.0},
  "tag_adam": {"learning_rate": 0.0005, "tag.b": 5.0},
  "stable_sgd": {"learning_rate": 0.1, "stable_sgd.decay": 0.9, "reduced_resnet.dropout": 0.1},
  "multitask": {"method": "sgd", "protocol": "multitask", "learning_rate": 0.01},
  "ewc": {"learning_rate": 0.1, "ewc.strength": 1.0},
  "agem": {"learning_rate": 0.1},
  "er": {"learning_rate": 0.1},
  "ewc+rmsprop": {"learning_rate": 0.005, "ewc.strength": 1.0},
  "agem+rmsprop": {"learning_rate": 0.005},
  "er+rmsprop": {"learning_rate": 0.005},
  "ewc+tag": {"learning_rate": 0.00025, "tag.b": 5.0, "ewc.strength": 1.0},
  "agem+tag": {"learning_rate": 0.00025, "tag.b": 5.0},
  "er+tag": {"learning_rate": 0.00025, "tag.b": 5.0},
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cifar100"
  c.num_tasks = 20
  c.model = "reduced_resnet"
  c.forgetting = "tag"
  return choose(c, TUNED, argument)
