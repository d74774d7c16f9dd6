"""Split miniImageNet: 20 tasks of 5 classes, reduced ResNet, one epoch, batches of 10.

The second benchmark of the TAG paper (Malviya, Ravindran, Chandar, CoLLAs 2022), with the values
that its authors chose for each method: photographs of 84 x 84, pixels -1 to 1, the last smaller
batch of a task left out. Recorded by the authors, 5 seeds, average accuracy in %:

  sgd 48.7   rmsprop 45.1   tag 57.2   adagrad 49.9   tag_adagrad 57.0   adam 45.9   tag_adam 57.6
  ewc 47.9   agem 50.3   er 54.7   stable_sgd 51.8   multitask 66.1
  ewc+tag 58.2   agem+tag 59.0   er+tag 58.9
  ewc+rmsprop 42.4   agem+rmsprop 44.2   er+rmsprop 43.5
  five epochs: sgd 46.9   ewc 48.2   agem 49.1   er 54.0   stable_sgd 51.2   rmsprop 41.1   tag 58.0
  er by exemplars a class: 2 55.0   3 57.0   5 60.5   10 62.7

Each is one command:

  python launch.py --config=configs/mini_imagenet.py:tag --config.seeds=5
  python launch.py --config=configs/mini_imagenet.py:er --config.memory.capacity=5 --config.seeds=5
  python launch.py --config=configs/mini_imagenet.py:tag --config.epochs=5 --config.seeds=5

Their er with 2 or 3 exemplars has the learning rate 0.1, their five epochs of sgd too. Their EWC
has the wrong task's mask (`--config.ewc.variant=tag-ref`), as in configs/cifar.py.

Needs miniImageNet, three files to be fetched by hand (docs/data.md). The time of a run is not
measured; `:tag,runlocal` trains on 300 examples of each of two tasks.
"""

from configs.common import LOCAL, choose, compositions
from tagjax.config.defaults import base_config

OPTIMIZERS = {
  "sgd": {"learning_rate": 0.05},
  "rmsprop": {"learning_rate": 0.001},
  "adagrad": {"learning_rate": 0.01},
  "adam": {"learning_rate": 0.001},
  "tag": {"learning_rate": 0.0001, "tag.b": 5.0},
  "tag_rmsprop": {"learning_rate": 0.0001, "tag.b": 5.0},
  "tag_adagrad": {"learning_rate": 0.001, "tag.b": 5.0},
  "tag_adam": {"learning_rate": 0.00025, "tag.b": 5.0},
}
COMBINED = {name: OPTIMIZERS[name] for name in ("sgd", "rmsprop", "tag")}
TUNED = {
  **OPTIMIZERS,
  "stable_sgd": {"learning_rate": 0.1, "stable_sgd.decay": 0.9},
  "multitask": {"method": "sgd", "protocol": "multitask", "learning_rate": 0.01},
  **compositions(COMBINED, {"ewc": {"ewc.strength": 1.0}, "agem": {}, "er": {}}),
  "agem": {"learning_rate": 0.1},
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_mini_imagenet"
  c.num_tasks = 20
  c.model = "reduced_resnet"
  c.normalization = "signed"
  c.drop_last = True
  c.forgetting = "tag"
  return choose(c, TUNED, argument, {**LOCAL, "end_task": 2})
