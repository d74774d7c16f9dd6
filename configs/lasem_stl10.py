"""Lifelong STL-10: 20 tasks of 3 classes, seen through noise and exchanged colours, 500 epochs.

The third benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021), with the values of its authors' code:
images of 96 x 96 with pixels -0.5 to 0.5, of each class 106 to train on and 19 for validation,
batches of 10, a network of six convolutions, TensorFlow 1's RMSProp at 0.0001 without decay. For
all else see configs/lasem_cifar.py. No published figure could be found to compare with.

  python launch.py --config=configs/lasem_stl10.py:lasem_hps --config.seeds=5
  python launch.py --config=configs/lasem_stl10.py:dfcnn_alternating --config.seeds=5
  python launch.py --config=configs/lasem_stl10.py:lasem_group_hps --config.seeds=5

The second is the example of the authors' README; the third has nine convolutions in three groups.

Needs STL-10, 2.5 GiB to download (docs/data.md). The time of a run is not measured; LASEM computes
64 configurations in a step. `:lasem_hps,runlocal` trains for an epoch on each of two tasks.
"""

from configs.layers import choose_layers, layers_table
from tagjax.config.defaults import base_config

GROUPS = {"lasem.groups": (3, 3, 3), "convolutions.preset": "stl10_nine_layers"}
EXAMPLES = {
  "dfcnn_alternating": {
    "model": "dfcnn",
    "dfcnn.sharing": "alternating",
    "factors.base_l2": 1e-7,
    "factors.own_l2": 1e-7,
  }
}
TUNED = layers_table(0.0001, examples=EXAMPLES)
TUNED |= {f"lasem_group_{kind}": TUNED[f"lasem_{kind}"] | GROUPS for kind in ("hps", "tf", "dfcnn")}


def get_config(argument: str = "lasem_hps"):
  c = base_config()
  c.benchmark = "stl10_lifelong"
  c.num_tasks = 20
  c.train_fraction = 0.25
  c.validation_fraction = 0.15
  c.convolutions.preset = "stl10"
  c.normalization = "centered"
  c.epochs = 500
  c.drop_last = True
  c.peak_accuracy = True
  local = {"end_task": 2, "epochs": 1, "test_examples_per_task": 100}
  return choose_layers(c, TUNED, argument, local)
