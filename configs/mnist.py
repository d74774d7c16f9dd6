"""Split MNIST: 5 tasks of 2 digits, MLP, batches of 10.

The benchmark of SI (Zenke, Poole, Ganguli, ICML 2017) and of the demonstration of MAS (Aljundi et
al., ECCV 2018). `mas` is that demonstration: standardised pixels, learning rate 0.01, strength 1,
the pairs (1, 2), (3, 4), ..., (9, 0), 10 epochs for the first task and 20 for each other. Its
authors recorded a mean forgetting of 0.083 % with importance computed anew on all tasks
(`--config.mas.sequence=recompute` is near to it), and of 0.071 % with importance summed up, at the
learning rate 0.001. The size of their batches is not known to us.

The other methods train for one epoch, with the learning rates of configs/permuted_mnist.py, not
tuned for this stream.

  python launch.py --config=configs/mnist.py:mas --config.seeds=5
  python launch.py --config=configs/mnist.py:tag --config.seeds=5
  python launch.py --config=configs/mnist.py:er --config.scenario=class     # one head, all digits

iTAML's runs on these five tasks are class-incremental: configs/itaml_mnist.py.

Needs MNIST (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 300
examples a task.
"""

from configs.common import choose
from configs.permuted_mnist import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {
  **NEAREST,
  "mas": {
    "learning_rate": 0.01,
    "mas.strength": 1.0,
    "class_order": (1, 2, 3, 4, 5, 6, 7, 8, 9, 0),
    "epochs": (10, 20, 20, 20, 20),
  },
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_mnist"
  c.num_tasks = 5
  c.model = "mlp"
  c.mlp.hidden = (256, 256)
  c.normalization = "mnist"
  return choose(c, TUNED, argument)
