"""Five data sets in a row: CIFAR-10, MNIST, SVHN, notMNIST, Fashion-MNIST; batches of 64.

The fourth benchmark of the TAG paper (Malviya, Ravindran, Chandar, CoLLAs 2022; the stream is that
of Ebrahimi et al., ECCV 2020), with the values that its authors chose for each method: a task of
10 classes for each data set, images of 32 x 32 in colour, reduced ResNet, one epoch. Recorded by
the authors, 5 seeds, average accuracy in %:

  sgd 46.5   rmsprop 45.5   tag 62.6   adagrad 54.2   tag_adagrad 67.7   adam 49.4   tag_adam 63.8
  ewc 48.6   agem 55.9   er 61.6   stable_sgd 46.5   multitask 70.0
  ewc+tag 67.3   agem+tag 69.7   er+tag 70.7
  ewc+rmsprop 57.8   agem+rmsprop 57.9   er+rmsprop 52.1
  five epochs: sgd 50.0   ewc 52.5   agem 62.5   er 62.8   stable_sgd 52.0   rmsprop 50.5   tag 61.1
  er by exemplars a class: 5 71.6   10 75.4      agem: 5 61.4   10 62.4

Each is one command:

  python launch.py --config=configs/five_datasets.py:er+tag --config.seeds=5
  python launch.py --config=configs/five_datasets.py:er --config.memory.capacity=10
  python launch.py --config=configs/five_datasets.py:tag --config.epochs=5

Their EWC has the wrong task's mask (`--config.ewc.variant=tag-ref`), and their head has 50 outputs
more, which no task uses.

Needs the five data sets; notMNIST is to be fetched by hand (docs/data.md). The time of a run is not
measured; `:tag,runlocal` trains on 300 examples a task.
"""

from configs.common import choose, compositions
from tagjax.config.defaults import base_config

OPTIMIZERS = {
  "sgd": {"learning_rate": 0.1},
  "rmsprop": {"learning_rate": 0.001},
  "adagrad": {"learning_rate": 0.005},
  "adam": {"learning_rate": 0.001},
  "tag": {"learning_rate": 0.0005, "tag.b": 7.0},
  "tag_rmsprop": {"learning_rate": 0.0005, "tag.b": 7.0},
  "tag_adagrad": {"learning_rate": 0.005, "tag.b": 7.0},
  "tag_adam": {"learning_rate": 0.0005, "tag.b": 7.0},
}
COMBINED = {name: OPTIMIZERS[name] for name in ("sgd", "rmsprop", "tag")}
TUNED = {
  **OPTIMIZERS,
  "stable_sgd": {"learning_rate": 0.1, "stable_sgd.decay": 0.7},
  "multitask": {"method": "sgd", "protocol": "multitask", "learning_rate": 0.05},
  **compositions(COMBINED, {"ewc": {"ewc.strength": 100.0}, "agem": {}, "er": {}}),
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "five_datasets"
  c.num_tasks = 5
  c.model = "reduced_resnet"
  c.batch_size = 64
  c.forgetting = "tag"
  return choose(c, TUNED, argument)
