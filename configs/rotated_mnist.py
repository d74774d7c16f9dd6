"""Rotated MNIST: 20 tasks of 1000 examples, MLP, one epoch, batches of 10.

A benchmark of GEM (Lopez-Paz and Ranzato, NeurIPS 2017): each task turns all digits by an angle of
its own, from 20 equal parts of 0 to 180 degrees. Its tables were not at hand, so there is no figure
to compare with here.

The learning rates of sgd (0.003) and gem (0.1) are GEM's; gem has 25 exemplars of each class of a
task, 250 where its authors have 256. All others are as in configs/permuted_mnist.py, not tuned for
this stream.

  python launch.py --config=configs/rotated_mnist.py:gem --config.seeds=5
  python launch.py --config=configs/rotated_mnist.py:tag --config.seeds=5

Needs MNIST (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 300
examples a task.
"""

from configs.common import choose
from configs.permuted_mnist import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {**NEAREST, "sgd": {"learning_rate": 0.003}}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "rotated_mnist"
  c.num_tasks = 20
  c.train_examples_per_task = 1000
  c.model = "mlp"
  c.mlp.hidden = (100, 100)
  return choose(c, TUNED, argument)
