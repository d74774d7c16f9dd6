"""Split Omniglot, which iTAML's loader has, class-incremental: the first 10 alphabets, RPS-net.

Fifteen drawings of each character to train on and five to test on, 105 x 105, with MNIST's pixel
statistics and without augmentation (Rajasegaran et al., CVPR 2020). Neither script nor figure was
published; the other values are those of configs/itaml_cifar.py. Here a task is an alphabet, of 14
to 55 characters; their loader cuts the characters into tasks of equal size. Runs of the continuum
are at most as long as the smallest alphabet's test. All 50 alphabets want a larger memory.

  python launch.py --config=configs/itaml_omniglot.py:itaml
  python launch.py --config=configs/itaml_omniglot.py:er
  python launch.py --config=configs/itaml_omniglot.py:itaml --config.num_tasks=50 \
      --config.memory.capacity=10000

The other methods have the same values, which are not tuned for them, nor is TAG.

Needs Omniglot (docs/data.md). Expected time of a seed: some 500 hours of a CPU core: for an
accelerator; estimated as in configs/itaml_cifar.py, for 1.6 million images of 105 x 105.
`:itaml,runlocal` trains for one epoch on 40 examples of each of two tasks.
"""

from configs.class_incremental import CONTINUUM, FEW_STEPS_OF_CLASSES, continuum, in_drops, of_radam
from configs.common import choose
from tagjax.config.defaults import base_config

LOCAL = {**FEW_STEPS_OF_CLASSES, "test_examples_per_task": 70, "memory.capacity": 140}
TUNED = of_radam()


def get_config(argument: str = "itaml"):
  c = base_config()
  c.benchmark = "split_omniglot"
  c.num_tasks = 10
  c.model = "rps_net"
  c.normalization = "mnist"
  c.batch_size = 128
  c.eval_batch_size = 100
  in_drops(c, 70, (20, 40, 60))
  continuum(c, CONTINUUM[:-1])
  c.confusion_matrix = False  # of hundreds of characters
  return choose(c, TUNED, argument, LOCAL)
