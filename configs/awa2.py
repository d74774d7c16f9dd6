"""Split AWA2: 17 tasks of 5 animals drawn at random, RESNET-B from scratch, batches of 10.

The hardest stream of A-GEM (Chaudhry et al., ICLR 2019). Its protocol: hyperparameters are chosen
on 3 tasks of the animals 0-14, and 17 tasks of the animals 15-49 are learned and evaluated; an
animal of several tasks has its photographs shared out to them. This file is the latter, and
`--config.classes=15 --config.num_tasks=3` the former. Recorded by the authors, 10 runs, average
accuracy in % (theirs is the mean of the classes' accuracies, ours that of the examples):

  sgd 30.4   ewc 33.9   si 34.0   rwalk 34.0   agem 44.0

The learning rates and strengths of sgd, ewc, si, mas, rwalk and agem are theirs, and so are 20
exemplars of each class of each task and 128 of them a step. Their EWC scales importance to [0, 1]
and ours does not: its strength is not tuned for ours. er has the learning rate of agem; rmsprop,
adagrad, adam and TAG those of split CUB (configs/cub.py), which start from a pretrained network.
Neither is tuned for this stream. A-GEM's model of class attributes is not in tagjax.

  python launch.py --config=configs/awa2.py:agem --config.seeds=5
  python launch.py --config=configs/awa2.py:tag --config.seeds=5

Here pixels are standardised with ImageNet's figures, and the test images are as many as theirs, but
others. Needs AWA2, fetched by hand (docs/data.md); its images are read while they are needed. The
time of a run is not measured; `:tag,runlocal` trains on 40 examples of each of two tasks.
"""

from configs.common import FEW_STEPS, choose, compositions
from configs.cub import OPTIMIZERS as CUB
from tagjax.config.defaults import base_config

MEMORY = {"memory.capacity": 20, "memory.batch_size": 128}
TUNED = {
  **CUB,
  "sgd": {"learning_rate": 0.001},
  "ewc": {"learning_rate": 0.003, "ewc.strength": 100.0},
  "si": {"learning_rate": 0.003, "si.strength": 1.0},
  "mas": {
    "learning_rate": 0.003,
    "mas.strength": 1.0,
    "mas.sequence": "last",
    "mas.per_batch": True,
  },
  "rwalk": {"learning_rate": 0.003, "rwalk.strength": 10.0},
  "agem": {"learning_rate": 0.01, **MEMORY},
  "er": {"learning_rate": 0.01, **MEMORY},
  **compositions({"tag": CUB["tag"]}, {"agem": MEMORY, "er": MEMORY}),
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_awa2"
  c.classes = "15-49"
  c.num_tasks = 17
  c.model = "resnet_b"
  c.normalization = "imagenet"
  return choose(c, TUNED, argument, FEW_STEPS)
