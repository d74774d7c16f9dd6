"""A-GEM's split AWA2: 3 tasks of 5 animals choose, 17 are judged, RESNET-B from scratch, 10 runs.

The protocol and the methods of Chaudhry et al. (ICLR 2019), one epoch, batches of 10. The animals
0-14 choose, 5 a task; the other tasks draw 5 of the animals 15-49 each, which come again.
`je_METHOD` is the same over the joint embedding of 85 attributes, whose rows are the same in every
task that has the animal. Recorded by its authors, 10 runs, mean of the classes' accuracies in %
(forgetting, LCA_10 by trapezoids):

  sgd 30.4 (.036, .214)   ewc 33.9 (.078, .257)   si 34.0 (.079, .258)   rwalk 34.0 (.078, .257)
  agem 44.0 (.057, .288)
  je_sgd 42.9 (.071, .368)   je_ewc 43.3 (.067, .369)   je_si 43.4 (.061, .368)
  je_rwalk 42.9 (.069, .368)   je_agem 49.5 (.036, .392)

Zero-shot accuracy, mean over the tasks: je_agem .373, je_sgd .340, one-hot .20 (chance). On this
stream their MAS cannot run.

  python launch.py --config=configs/agem_awa2.py:je_agem
  python launch.py --config=configs/agem_awa2.py:agem,chosen

`,chosen` has no grid but the values that the authors chose. Accuracies are means over the classes
of a task, as theirs. Here pixels are standardised with ImageNet's figures
(`--config.normalization=legacy_agem`: as theirs), the test images are as many as theirs but others,
and a run draws the order of its tasks, not their animals.

Needs AWA2, fetched by hand (docs/data.md); its images are read while they are needed. The time of a
run is not measured; `:agem,runlocal` trains on 40 examples of each of three tasks.
"""

from configs.common import agem_protocol, agem_tuned, joint, with_attributes
from tagjax.config.defaults import base_config

MEMORY = (20, 128)
ONE_HOT = {
  "sgd": 0.001,
  "ewc": (0.003, 100.0),
  "si": (0.003, 1.0),
  "mas": (0.003, 1.0),
  "rwalk": (0.003, 10.0),
  "er": 0.01,
  "agem": 0.01,
  "gem": 0.01,
  "tag": 0.0001,
  "agem+tag": 0.0001,
}
EMBEDDED = {
  **ONE_HOT,
  "sgd": 0.003,
  "si": (0.003, 10.0),
  "mas": (0.001, 0.1),
  "er": 0.003,
  "agem": 0.003,
  "gem": 0.003,
}
TUNED = {
  **agem_tuned(ONE_HOT, MEMORY),
  **joint(0.001),
  **with_attributes(agem_tuned(EMBEDDED, MEMORY), "resnet_b"),
}


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "split_awa2"
  c.num_tasks = 20
  c.tasks_apart = 3
  c.model = "resnet_b"
  c.normalization = "imagenet"
  c.class_average = True
  c = agem_protocol(c, TUNED, argument)
  c.seeds = 2 if argument.endswith("runlocal") else 10
  return c
