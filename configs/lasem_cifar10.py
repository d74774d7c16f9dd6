"""Split CIFAR-10 with few images: 5 tasks of 2 classes, a small network of four convolutions.

LASEM (Lee, Behpour, Eaton, ICML 2021) and what it is compared with, in small: 4 % of the images,
340 for training and 60 for validation of each task, half the channels of the paper's network for
CIFAR-100, and a max-pool more. RMSProp is TensorFlow 1's, fresh for each task, at ten times the
paper's rate for a hundredth of its epochs. Nothing was published on this stream.

  python launch.py --config=configs/lasem_cifar10.py:lasem_hps --config.seeds=3
  python launch.py --config=configs/lasem_cifar10.py:dfcnn --config.dfcnn.sharing=top-2
  python launch.py --config=configs/lasem_cifar10.py:single_task --config.train_fraction=0.2
  python launch.py --config=configs/lasem_cifar10.py:brute_force --config.seeds=3

The last trains all 16 configurations of `hps` and chooses by validation examples; `brute_force_tf`
and `brute_force_dfcnn` those of the others. Measured: docs/lifelong_results.md.

Needs CIFAR-10 (docs/data.md). A static network takes a core half a minute for a seed, LASEM
about two minutes, compiling included; `:lasem_hps,runlocal` trains for an epoch.
"""

from configs.layers import choose_layers, layers_table
from tagjax.config.defaults import base_config

FACTORS = {
  "base_channels": (8, 12, 16, 18),
  "filter_sizes": (3, 3, 3, 3),
  "filter_channels": (12, 24, 32, 36),
}
DEN = {
  "model": "expandable_cnn",
  "method": "den+rmsprop",
  # Twice the others' widths, of which half is there from the start.
  "convolutions.channels": (32, 32, 64, 64),
  "convolutions.hidden": (128,),
  "epochs": 5,  # of each of its four phases
}
TUNED = layers_table(0.001, examples={"den": DEN}, factors=FACTORS)
LOCAL = {"epochs": 1, "test_examples_per_task": 100}
TUNED["packnet"] |= {"epochs": 10}  # of each of its two phases


def get_config(argument: str = "lasem_hps"):
  c = base_config()
  c.benchmark = "split_cifar10"
  c.num_tasks = 5
  c.train_fraction = 0.04
  c.validation_fraction = 0.15
  c.test_examples_per_task = 500
  c.convolutions.channels = (16, 16, 32, 32)
  c.convolutions.kernels = (3, 3, 3, 3)
  c.convolutions.pools = (2, 2, 1, 2)
  c.normalization = "cifar"
  c.epochs = 20
  c.drop_last = True
  c.peak_accuracy = True
  return choose_layers(c, TUNED, argument, LOCAL, depth=4)
