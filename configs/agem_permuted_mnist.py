"""A-GEM's permuted MNIST: 3 tasks choose, 17 are judged, FC-S, one epoch, batches of 10, 5 runs.

The protocol and the methods of Chaudhry et al. (ICLR 2019): a grid over the first 3 tasks chooses
learning rate and strength, then the other 17 are seen once, in another order in each run. One head
for all tasks. Recorded by its authors, 5 runs, average accuracy in % (forgetting, LCA_10 by
trapezoids):

  sgd 47.95 (.511, .262)    ewc 68.35 (.288, .276)  mas 69.85 (.269, .295)
  rwalk 85.80 (.082, .316)  agem 89.12 (.070, .291)  gem 90.30 (.055, .234)
  progressive 93.55 (0, .198)  multitask 95.38

  python launch.py --config=configs/agem_permuted_mnist.py:agem
  python launch.py --config=configs/agem_permuted_mnist.py:agem,chosen

`,chosen` has no grid but the values that the authors chose. Here the 3 tasks are scored on
validation images (`--config.tuning.legacy` scores on test images, as they do), task 0 leaves the
pixels as they are, 5,000 images are not set aside, and the initial weights are PyTorch's. Their EWC
and RWalk lose the steps after the last refresh of a task: `--config.ewc.legacy`,
`--config.rwalk.legacy`. S-GEM is `--config.agem.constraint=random_task`. gem, er, tag and agem+tag
have no values of theirs.

`progressive` has a column for each task, and is told which one a test image is of. `joint` learns
all tasks at once, the upper bound that they call multitask.

Needs MNIST (docs/data.md). A run has 102,000 steps. On one core that was busy with other work a
step of permuted Fashion-MNIST took 0.5 ms with SGD and 8 ms with A-GEM, whose reference batches are
25 times as large (docs/agem_protocol.md): a run is a minute with SGD, a quarter of an hour with
A-GEM. The grid comes on top of five of them.
"""

from configs.common import agem_protocol, agem_tuned, joint
from tagjax.config.defaults import base_config

TUNED = {
  **agem_tuned(
    {
      "sgd": 0.03,
      "ewc": (0.03, 10.0),
      "si": (0.1, 0.1),
      "mas": (0.1, 0.1),
      "rwalk": (0.1, 1.0),
      "er": 0.1,
      "agem": 0.1,
      "gem": 0.1,
      "tag": 0.001,
      "agem+tag": 0.001,
    },
    memory=(25, 256),
    update_every=10,
  ),
  **joint(0.03),
  "progressive": {
    "method": "sgd",
    "learning_rate": 0.1,
    "scenario": "task",
    "model": "prognn_mlp",
    "prognn_mlp.hidden": (256, 256),
  },
}


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "permuted_mnist"
  c.num_tasks = 20
  c.model = "mlp"
  c.mlp.hidden = (256, 256)
  return agem_protocol(c, TUNED, argument)
