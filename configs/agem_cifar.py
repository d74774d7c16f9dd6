"""A-GEM's split CIFAR-100: 3 tasks of 5 classes choose, 17 are judged, RESNET-S, one epoch, 5 runs.

The protocol and the methods of Chaudhry et al. (ICLR 2019), batches of 10; the mean training image
is taken off each image. Classes 0-14 choose; each run deals classes 15-99 out to its tasks anew.
Recorded by its authors, 5 runs, average accuracy in % (forgetting, LCA_10 by trapezoids):

  sgd 43.0 (.245, .307)    ewc 42.4 (.260, .331)   si 47.1 (.175, .313)   mas 44.2 (.247, .334)
  rwalk 40.9 (.291, .327)  agem 62.3 (.079, .347)  gem 61.2 (.061, .361)
  progressive 59.2 (0, .209)  multitask 68.3

  python launch.py --config=configs/agem_cifar.py:agem
  python launch.py --config=configs/agem_cifar.py:agem,chosen

`,chosen` has no grid but the values that the authors chose. gem, er, tag and agem+tag have no
values of theirs. `joint` learns all tasks at once, the upper bound that they call multitask. Their
progressive row has no network here: tagjax has progressive perceptrons and LASEM's progressive CNN.

Needs CIFAR-100 (docs/data.md). The time of a run is not measured: 17 tasks are 4,250 steps of some
25 ms on a CPU's core; `:agem,runlocal` trains on 40 examples of each of three tasks.
"""

from configs.common import agem_protocol, agem_tuned, joint
from tagjax.config.defaults import base_config

CHOSEN = {
  "sgd": 0.01,
  "ewc": (0.03, 10.0),
  "si": (0.01, 0.1),
  "mas": (0.03, 0.1),
  "rwalk": (0.03, 1.0),
  "er": 0.03,
  "agem": 0.03,
  "gem": 0.03,
  "tag": 0.0003,
  "agem+tag": 0.0003,
}
TUNED = {**agem_tuned(CHOSEN, memory=(13, 256)), **joint(0.01)}


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "split_cifar100"
  c.num_tasks = 20
  c.model = "resnet_s"
  c.normalization = "mean_image"
  return agem_protocol(c, TUNED, argument)
