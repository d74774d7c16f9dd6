"""Split CIFAR-100 as in LASEM: 10 tasks of 10 classes, 4 % of the data, 2000 epochs.

The first benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021): fixed groups of classes, 170 training
and 30 validation examples a task, batches of 10, a network of four convolutions. LASEM itself, and
the transfer methods that it is compared with, are not in tagjax. What is: `rmsprop`, which shares
all layers; `independent`, a network for each task; and methods that LASEM did not try. Its tables
were not at hand, so there is no figure to compare with here.

RMSProp's learning rate (0.0001) is LASEM's. Its RMSProp is TensorFlow's, whose running mean starts
at 1, and its learning rate falls with the epochs, to a sixth at the end; ours does neither. Each
task begins with a fresh optimizer as there, except for TAG. TAG's learning rate is a twentieth of
RMSProp's, the ratio that its authors chose on split CIFAR-100; that of adam is RMSProp's. Neither
is tuned.

  python launch.py --config=configs/cifar_lasem.py:rmsprop --config.seeds=5
  python launch.py --config=configs/cifar_lasem.py:tag --config.epochs=20
  python launch.py --config=configs/cifar_lasem.py:er+rmsprop '--config.task_order=0-4, 0-9'

The last has the five tasks that come again, LASEM's second order of tasks. Here hidden layers are
shared by the tasks, and pixels are standardised with fixed figures for all splits.

Needs CIFAR-100 (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains for three
epochs.
"""

from configs.common import choose, compositions
from tagjax.config.defaults import base_config


def lasem_table(learning_rate: float) -> dict[str, dict]:
  """The methods' values on LASEM's streams, by its learning rate for RMSProp."""
  rmsprop = {"learning_rate": learning_rate, "fresh_optimizer": True}
  tag = {"learning_rate": learning_rate / 20, "tag.b": 5.0}
  return {
    "rmsprop": rmsprop,
    "adam": rmsprop,
    "tag": tag,
    "independent": {"method": "rmsprop", "protocol": "independent", **rmsprop},
    **compositions({"rmsprop": rmsprop, "tag": tag}, {"ewc": {}, "agem": {}, "er": {}}),
  }


TUNED = lasem_table(0.0001)


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cifar100"
  c.num_tasks = 10
  c.class_order = "lasem"
  c.train_fraction = 0.04
  c.validation_fraction = 0.15
  c.model = "lasem_cnn"
  c.lasem_cnn.preset = "cifar"
  c.normalization = "cifar"
  c.epochs = 2000
  c.drop_last = True
  return choose(c, TUNED, argument, {"epochs": 3, "test_examples_per_task": 100})
