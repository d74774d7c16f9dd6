"""Split Fashion-MNIST: 5 tasks of 2 kinds of clothes, MLP, one epoch, batches of 10.

No paper gives values or figures for this stream that were at hand. Those of RMSProp and TAG were
chosen on validation examples (docs/results.md); the other methods have those of permuted MNIST
(configs/permuted_mnist.py), not tuned for this stream.

  python launch.py --config=configs/fashion_mnist.py:tag --config.seeds=5
  python launch.py --config=configs/fashion_mnist.py:er --config.scenario=class

Needs Fashion-MNIST, which Debian and Ubuntu have as a package (docs/data.md).
The time of a run is not measured; `:tag,runlocal` trains on 300 examples a task.
"""

from configs.common import choose
from configs.permuted_mnist import TUNED as PERMUTED
from tagjax.config import base_config

_TAG = {"learning_rate": 0.00005, "tag.b": 5.0}
TUNED = PERMUTED | {"rmsprop": {"learning_rate": 0.001}, "tag": _TAG, "tag_rmsprop": _TAG}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_fashion_mnist"
  c.num_tasks = 5
  c.model = "mlp"
  c.mlp.hidden = (100, 100)
  return choose(c, TUNED, argument)
