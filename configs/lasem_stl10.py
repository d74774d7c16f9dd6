"""Lifelong STL-10: 20 tasks of 3 classes, seen through noise and exchanged colours, 500 epochs.

The third benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021): images of 96 x 96 with pixels -0.5 to
0.5, of each class 106 to train on and 19 for validation, batches of 10, a network of six
convolutions. RMSProp's learning rate (0.0001, here without decay in LASEM too) is LASEM's; for all
else see configs/cifar_lasem.py, whose remarks hold here too. LASEM's methods are not in tagjax, and
its tables were not at hand: there is no figure to compare with here.

  python launch.py --config=configs/stl10.py:rmsprop --config.seeds=5
  python launch.py --config=configs/stl10.py:tag --config.epochs=20

Needs STL-10, 2.5 GiB to download (docs/data.md). The time of a run is not measured; `:tag,runlocal`
trains for two epochs on each of two tasks.
"""

from configs.cifar_lasem import lasem_table
from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = lasem_table(0.0001)


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "stl10_lifelong"
  c.num_tasks = 20
  c.train_fraction = 0.25
  c.validation_fraction = 0.15
  c.model = "lasem_cnn"
  c.lasem_cnn.preset = "stl10"
  c.normalization = "centered"
  c.epochs = 500
  c.drop_last = True
  return choose(c, TUNED, argument, {"end_task": 2, "epochs": 2, "test_examples_per_task": 100})
