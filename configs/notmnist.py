"""Split notMNIST: 5 tasks of 2 letters, A to J, MLP, one epoch, batches of 10.

No paper gives values or figures for this stream that were at hand. The learning rates are those of
permuted MNIST (configs/permuted_mnist.py), not tuned for this stream.

  python launch.py --config=configs/notmnist.py:tag --config.seeds=5
  python launch.py --config=configs/notmnist.py:er --config.scenario=class

Needs notMNIST, a file to be fetched by hand (docs/data.md).
The time of a run is not measured; `:tag,runlocal` trains on 300 examples a task.
"""

from configs.common import choose
from configs.permuted_mnist import TUNED
from tagjax.config.defaults import base_config


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_notmnist"
  c.num_tasks = 5
  c.model = "mlp"
  c.mlp.hidden = (256, 256)
  return choose(c, TUNED, argument)
