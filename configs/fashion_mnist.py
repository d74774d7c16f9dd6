"""Split Fashion-MNIST: 5 tasks of 2 kinds of clothes, MLP, one epoch, batches of 10.

No paper gives values or figures for this stream that were at hand. The learning rates of SGD,
RMSProp and TAG, and the strengths of the regularisers with SGD, were chosen on validation examples
(docs/tuning_fashion_mnist.md). With TAG a regulariser keeps its strength; what replays or projects
has the learning rate of its optimizer, its own defaults and ten exemplars of each class. The other
optimizers have the values of permuted MNIST (configs/permuted_mnist.py), not tuned for this stream.
Measured: docs/results.md.

  python launch.py --config=configs/fashion_mnist.py:tag --config.seeds=5
  python launch.py --config=configs/fashion_mnist.py:er --config.scenario=class

Needs Fashion-MNIST, which Debian and Ubuntu have as a package (docs/data.md). Five seeds of TAG
took a minute on two CPU cores; `:tag,runlocal` trains on 300 examples a task.
"""

from configs.common import choose, compositions
from configs.permuted_mnist import TUNED as PERMUTED
from tagjax.config.defaults import base_config

OPTIMIZERS = {
  "sgd": {"learning_rate": 0.05},
  "rmsprop": {"learning_rate": 0.001},
  "tag": {"learning_rate": 0.00005, "tag.b": 5.0},
}
MEMORY = {"memory.capacity": 10}
MODIFIERS = {
  "ewc": {"ewc.strength": 1e6},
  "mas": {"mas.strength": 0.1},  # 1 diverges on the whole stream
  "mas_local": {"mas_local.strength": 1.0},
  "si": {"si.strength": 0.1},
  "rwalk": {"rwalk.strength": 10.0},
  "lwf": {"lwf.strength": 0.1},
  **dict.fromkeys(("er", "er_ace", "der", "derpp", "agem", "gem"), MEMORY),
}
TUNED = {
  **PERMUTED,
  **OPTIMIZERS,
  "tag_rmsprop": OPTIMIZERS["tag"],
  **compositions({name: OPTIMIZERS[name] for name in ("sgd", "tag")}, MODIFIERS),
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_fashion_mnist"
  c.num_tasks = 5
  c.model = "mlp"
  c.mlp.hidden = (100, 100)
  return choose(c, TUNED, argument)
