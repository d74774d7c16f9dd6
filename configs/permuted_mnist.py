r"""Permuted MNIST: 3 tasks to choose by and 17 to report on, MLP, one epoch, batches of 10.

The protocol of A-GEM (Chaudhry et al., ICLR 2019): of 20 tasks the first 3 are for choosing
hyperparameters, and the others are learned and evaluated. `--config.first_task=0
--config.end_task=3` are the former. One head for all tasks. Recorded by its authors, 5 runs,
average accuracy over the 17 tasks in %:

  sgd 48.0   ewc 68.4   mas 69.9   rwalk 85.8   agem 89.1   gem 90.3   multitask 95.4

The learning rates and strengths of sgd, ewc, si, mas, rwalk and agem are theirs, and so are 25
exemplars of each class of each task and 256 of them a step. Their EWC scales importance to [0, 1]
and ours does not: its strength is not tuned for ours. gem and er have the learning rate of agem;
rmsprop, adagrad, adam and TAG that of permuted digits (configs/digits.py). Neither is tuned.

  python launch.py --config=configs/permuted_mnist.py:agem --config.seeds=5
  python launch.py --config=configs/permuted_mnist.py:tag --config.seeds=5

GEM (Lopez-Paz and Ranzato, NeurIPS 2017) reports on all 20 tasks, of 1000 examples each:

  python launch.py --config=configs/permuted_mnist.py:gem --config.first_task=0 \
      --config.train_examples_per_task=1000 '--config.mlp.hidden=(100, 100)'

Here the first task of the 20 leaves the pixels as they are, 5000 images are not set aside, and the
initial weights are PyTorch's. Needs MNIST (docs/data.md). The time of a run is not measured;
`:tag,runlocal` trains on 300 examples a task.
"""

from configs.common import choose, compositions
from configs.digits import TUNED as DIGITS
from tagjax.config.defaults import base_config

MEMORY = {"memory.capacity": 25, "memory.batch_size": 256}
TUNED = {
  **DIGITS,
  "sgd": {"learning_rate": 0.03},
  "ewc": {"learning_rate": 0.03, "ewc.strength": 10.0},
  "si": {"learning_rate": 0.1, "si.strength": 0.1},
  "mas": {
    "learning_rate": 0.1,
    "mas.strength": 0.1,
    "mas.sequence": "last",
    "mas.per_batch": True,
  },
  "rwalk": {"learning_rate": 0.1, "rwalk.strength": 1.0, "rwalk.update_every": 10},
  "agem": {"learning_rate": 0.1, **MEMORY},
  "er": {"learning_rate": 0.1, **MEMORY},
  "gem": {"learning_rate": 0.1, "memory.capacity": 25},
  **compositions(
    {"tag": DIGITS["tag"]}, {"ewc": {"ewc.strength": 10.0}, "agem": MEMORY, "er": MEMORY}
  ),
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "permuted_mnist"
  c.num_tasks = 20
  c.first_task = 3
  c.model = "mlp"
  c.mlp.hidden = (256, 256)
  return choose(c, TUNED, argument)
