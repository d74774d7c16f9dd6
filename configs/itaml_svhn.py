"""iTAML's split SVHN: 5 tasks of 2 digits of house numbers, class-incremental, RPS-net.

The values of the authors' script (Rajasegaran et al., CVPR 2020): RAdam, 20 epochs a session, the
rate 0.01 divided by 5 before epochs 5, 10 and 15 of each, batches of 256, 2000 exemplars, beta 1,
random shifts, mirror images and turns, pixels standardised with ImageNet's figures. One run of
theirs, accuracy in % after each session with runs of p = 20 test images:

  itaml 98.92 97.47 97.29 97.55 93.97   (evaluated again: 95.59, task accuracy 98.31)

  python launch.py --config=configs/itaml_svhn.py:itaml
  python launch.py --config=configs/itaml_svhn.py:itaml --config.itaml.variant=reference
  python launch.py --config=configs/itaml_svhn.py:er

Differs: their code takes four inner steps (r) of the last session's own task and one of all others,
and chose the epoch by test examples. A mirrored digit is no digit, but so it is in their code:
`--config.augmentation.flip=False`. The other methods have the values of the same script, which is
not tuned for them, nor is TAG.

Needs SVHN (docs/data.md). Expected time of a seed: some 50 hours of a CPU core: for an
accelerator; estimated as in configs/itaml_cifar.py, for 1.6 million images. `:itaml,runlocal`
trains for one epoch on 40 examples of each of two tasks.
"""

from configs.class_incremental import (
  FEW_STEPS_OF_CLASSES,
  RANDOM_CHANGES,
  continuum,
  in_drops,
  of_radam,
)
from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = of_radam()


def get_config(argument: str = "itaml"):
  c = base_config()
  c.benchmark = "split_svhn"
  c.num_tasks = 5
  c.model = "rps_net"
  c.normalization = "imagenet"
  c.update_from_flattened_dict(RANDOM_CHANGES)
  c.batch_size = 256
  in_drops(c, 20, (5, 10, 15))
  continuum(c)
  return choose(c, TUNED, argument, FEW_STEPS_OF_CLASSES)
