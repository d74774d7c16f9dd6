"""Split CIFAR-100 as in LASEM: 10 tasks of 10 classes, 4 % of the data, 2000 epochs.

The first benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021), with the values of its authors'
code: fixed groups of classes, 170 training and 30 validation examples a task, batches of 10,
TensorFlow 1's RMSProp, fresh for each task, whose rate falls with the epochs of the whole stream,
to a sixth at the end. No published figure could be found to compare with.

  python launch.py --config=configs/lasem_cifar.py:lasem_hps --config.seeds=5
  python launch.py --config=configs/lasem_cifar.py:hps_top2 --config.seeds=5
  python launch.py --config=configs/lasem_cifar.py:dfcnn --config.dfcnn.sharing=alternating
  python launch.py --config=configs/lasem_cifar.py:lasem_tf --config.factors.orthogonality=0.1
  python launch.py --config=configs/lasem_cifar.py:brute_force
  python launch.py --config=configs/lasem_cifar.py:lasem_hps '--config.visit_order=0-4, 0-9'

The second command is the example of the authors' README. Which of their numbers (`test_type`) is
which `sharing`: docs/lifelong_architectures.md. In the last one five tasks come again, their second
order of tasks; the third is `0-9, 0-9`. The constants of `den` are those that the authors' code
names for a version of it that is not public. `tag`, `er` and their kin are not in the paper; TAG's
rate is a twentieth of RMSProp's, the ratio that its authors chose on split CIFAR-100.

Pixels are standardised with fixed figures for all splits, where the paper takes those of each.

Needs CIFAR-100 (docs/data.md). Expected time of a seed on a CPU core: 3.3 hours for a static
network (340,000 steps of 35 ms of CPU time, measured over 204 of them), 31 hours for LASEM by its
operations (docs/lifelong_architectures.md). `:lasem_hps,runlocal` trains for an epoch on each of
two tasks.
"""

from configs.layers import choose_layers, layers_table
from tagjax.config.defaults import base_config

EXAMPLES = {
  "hps_top2": {"model": "hps", "hps.sharing": "top-2"},
  "den": {
    "model": "expandable_cnn",
    "method": "den+rmsprop",
    # Twice the others' widths, of which half is there from the start.
    "convolutions.channels": (64, 64, 128, 128),
    "convolutions.hidden": (128,),
    "den.l1": 1e-6,
    "den.l2": 0.01,
    "den.group": 0.8,
    "den.expand_by": 16,
    "epochs": 500,  # of each of its four phases
  },
}
TUNED = layers_table(0.0001, 1 / 4000, EXAMPLES)
LOCAL = {"end_task": 2, "epochs": 1, "test_examples_per_task": 100}


def get_config(argument: str = "lasem_hps"):
  c = base_config()
  c.benchmark = "split_cifar100"
  c.num_tasks = 10
  c.class_order = "lasem"
  c.train_fraction = 0.04
  c.validation_fraction = 0.15
  c.convolutions.preset = "cifar"
  c.normalization = "cifar"
  c.epochs = 2000
  c.drop_last = True
  c.peak_accuracy = True
  return choose_layers(c, TUNED, argument, LOCAL, depth=4)
