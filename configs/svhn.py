"""Split SVHN: 5 tasks of 2 digits of house numbers, class-incremental, RPS-net, 20 epochs.

The stream of iTAML (Rajasegaran et al., CVPR 2020), whose own values and figures are in
configs/itaml_svhn.py: 2000 exemplars in all, batches of 256, random shifts, turns and mirror
images, pixels standardised with ImageNet's figures. The learning rates are those of
configs/five_datasets.py, where SVHN is one of the tasks, not tuned for this stream.

  python launch.py --config=configs/svhn.py:er --config.seeds=5
  python launch.py --config=configs/svhn.py:er+tag --config.seeds=5
  python launch.py --config=configs/svhn.py:tag --config.scenario=task --config.epochs=1

A mirrored digit is no digit, but so it is in their code: `--config.augmentation.flip=False`.

Needs SVHN (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains for one epoch
on 40 examples of each of two tasks.
"""

from configs.common import FEW_STEPS, choose, compositions
from configs.five_datasets import COMBINED
from configs.five_datasets import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {**NEAREST, **compositions(COMBINED, {"derpp": {}})}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_svhn"
  c.scenario = "class"
  c.num_tasks = 5
  c.model = "rps_net"
  c.normalization = "imagenet"
  c.augmentation.crop = 4
  c.augmentation.flip = True
  c.augmentation.rotation = 10.0
  c.memory.capacity = 2000
  c.memory.per = "total"
  c.batch_size = 256
  c.epochs = 20
  return choose(c, TUNED, argument, FEW_STEPS)
