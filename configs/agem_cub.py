r"""A-GEM's split CUB: 3 tasks of 10 kinds of birds choose, 17 are judged, also with attributes.

The protocol and the methods of Chaudhry et al. (ICLR 2019): RESNET-B, one epoch, batches of 10, 10
runs. `je_METHOD` is the same over the joint embedding of 312 attributes: a class that has not been
seen has logits too. The first 30 classes choose; each run deals the others out to its tasks anew.
Recorded by its authors, average accuracy in % (forgetting, LCA_10 by trapezoids):

  sgd 54.4 (.130, .292)   ewc 54.0 (.132, .292)   si 55.4 (.120, .293)   rwalk 54.4 (.129, .292)
  agem 62.0 (.075, .300)   multitask 65.6
  je_sgd 67.1 (.106, .519)   je_ewc 68.5 (.091, .516)   je_si 66.7 (.105, .517)
  je_rwalk 67.5 (.101, .521)   je_agem 71.0 (.079, .544)   multitask 73.9

Zero-shot accuracy, mean over the tasks: je_agem .452, je_sgd .434, one-hot .10 (chance).

  python launch.py --config=configs/agem_cub.py:je_agem --config.pretrained=resnet18-f37072fd.pth
  python launch.py --config=configs/agem_cub.py:agem,chosen \
      --config.pretrained=resnet18-f37072fd.pth

`,chosen` has no grid but the values that the authors chose. The network starts with what it has
learnt on ImageNet, all but its head: torchvision's `resnet18`, which you fetch yourself. It fits
`resnet18`, which the config takes, and not RESNET-B, whose file the authors made; the networks
differ in the max-pool and the shortcuts. Pixels are standardised as these weights expect;
`--config.normalization=legacy_agem` is what A-GEM's code makes of them: colours in one order, means
in the other. Their EWC, RWalk are plain SGD here, as their tasks have fewer steps than a refresh:
`--config.ewc.legacy`, `--config.rwalk.legacy`.

Needs CUB-200-2011 (docs/data.md). The time of a run is not measured; `:agem,runlocal` trains on 40
examples of each of three tasks.
"""

from configs.common import agem_protocol, agem_tuned, joint, with_attributes
from tagjax.config.defaults import base_config

MEMORY = (5, 128)
ONE_HOT = {
  "sgd": 0.03,
  "ewc": (0.03, 1.0),
  "si": (0.03, 0.1),
  "mas": (0.03, 0.1),
  "rwalk": (0.03, 1.0),
  "er": 0.03,
  "agem": 0.03,
  "gem": 0.03,
  "tag": 0.00003,
  "agem+tag": 0.00003,
}
TUNED = {
  **agem_tuned(ONE_HOT, MEMORY),
  **joint(0.03),
  **with_attributes(agem_tuned({**ONE_HOT, "ewc": (0.03, 10.0)}, MEMORY), "resnet18"),
}


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "split_cub"
  c.num_tasks = 20
  c.model = "resnet18"
  c.normalization = "imagenet"
  c = agem_protocol(c, TUNED, argument)
  c.seeds = 2 if argument.endswith("runlocal") else 10
  return c
