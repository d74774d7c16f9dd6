"""Split Fashion-MNIST, class-incremental: 5 tasks of 2 kinds of clothes, MLP, 2000 exemplars.

iTAML (Rajasegaran et al., CVPR 2020) with the values of its authors' script for MNIST
(configs/itaml_mnist.py), beside the methods that class-incremental learning is compared by; they
have the same stream, network, memory, epochs and optimizer, a tenth of its learning rate, and are
not tuned (`icarl` and `bic` do better with the whole rate, `--config.learning_rate=0.1`). Nothing
was published on this stream; measured: docs/class_incremental.md. Accuracies for runs of p test
images of one task, p up to 100, come from one evaluation; so do task accuracy, the plain argmax and
the confusion matrix.

  python launch.py --config=configs/itaml_fashion_mnist.py:itaml --config.seeds=3
  python launch.py --config=configs/itaml_fashion_mnist.py:itaml+tag --config.seeds=3
  python launch.py --config=configs/itaml_fashion_mnist.py:er --config.memory.capacity=200
  python launch.py --config=configs/itaml_fashion_mnist.py:joint --config.seeds=3

Needs Fashion-MNIST, which Debian and Ubuntu have as a package (docs/data.md). Expected time of a
seed: a minute of a CPU core, of ER too (by the steps of `python -m bench.inner_loops`,
docs/itaml.md). `:itaml,runlocal` trains for an epoch on 200 examples a task.
"""

from configs.class_incremental import LOCAL_CLASSES, TAG, class_incremental, continuum, in_drops
from configs.common import choose
from tagjax.config.defaults import base_config

SGD = {"learning_rate": 0.1, "sgd.momentum": 0.9, "weight_decay.strength": 0.001}
SLOWER = SGD | {"learning_rate": 0.01}  # with 0.1 replay of a whole batch dies in the second task
TUNED = class_incremental("weight_decay+sgd", SGD, TAG, SLOWER)


def get_config(argument: str = "itaml"):
  c = base_config()
  c.benchmark = "split_fashion_mnist"
  c.num_tasks = 5
  c.model = "mlp"
  c.mlp.hidden = (400, 400)
  c.mlp.head_bias = False
  c.batch_size = 256
  in_drops(c, (5, 20, 20, 20, 20), (5, 10, 15), 0.5)
  c.itaml.beta = 0.5
  continuum(c)
  return choose(c, TUNED, argument, LOCAL_CLASSES)
