"""Office-Home: 10 tasks of 13 things, products and then photographs, 1000 epochs, batches of 16.

The second benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021): pictures of 128 x 128, a network of
four convolutions, a seventh of the training examples held out for validation. RMSProp's learning
rate (0.00002) is LASEM's; for all else see configs/cifar_lasem.py, whose remarks hold here too.
LASEM's methods are not in tagjax, and its tables were not at hand: there is no figure to compare
with here.

  python launch.py --config=configs/office_home.py:rmsprop --config.seeds=5
  python launch.py --config=configs/office_home.py:tag --config.epochs=20

Needs Office-Home, fetched by hand (docs/data.md). The time of a run is not measured;
`:tag,runlocal` trains for one epoch on 100 examples of each of two tasks.
"""

from configs.cifar_lasem import lasem_table
from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = lasem_table(0.00002)
LOCAL = {"end_task": 2, "epochs": 1, "train_examples_per_task": 100, "test_examples_per_task": 50}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "office_home"
  c.num_tasks = 10
  c.validation_fraction = 1 / 7  # 10 % of all, and the test has 30 %
  c.model = "lasem_cnn"
  c.lasem_cnn.preset = "office_home"
  c.batch_size = 16
  c.epochs = 1000
  c.drop_last = True
  return choose(c, TUNED, argument, LOCAL)
