"""Split CIFAR-10, class-incremental: 5 tasks of 2 classes, reduced ResNet, 2000 exemplars.

iTAML (Rajasegaran et al., CVPR 2020) with the augmentation, pixel statistics and optimizer of its
authors' script for CIFAR-100 (configs/itaml_cifar.py), beside the methods that class-incremental
learning is compared by, in small: 1000 images of each class, ten epochs, the reduced ResNet of the
TAG paper. Nothing was published on this stream, and nothing here is tuned.

  python launch.py --config=configs/itaml_cifar10.py:itaml --config.seeds=2
  python launch.py --config=configs/itaml_cifar10.py:er --config.memory.capacity=200
  python launch.py --config=configs/itaml_cifar10.py:itaml --config.model=rps_net    # theirs

The head of the reduced ResNet has a bias, which theirs has not.

Needs CIFAR-10 (docs/data.md). Expected time of a seed: 25 to 30 minutes of a CPU core, of ER 20, of
SGD 12 (by the steps of `python -m bench.inner_loops --model=reduced_resnet`, docs/itaml.md); in
small: docs/class_incremental.md. `:itaml,runlocal` trains for one epoch on 40 examples of each of
two tasks.
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
  c.benchmark = "split_cifar10"
  c.num_tasks = 5
  c.train_examples_per_task = 2000
  c.model = "reduced_resnet"
  c.normalization = "cifar"
  c.update_from_flattened_dict(RANDOM_CHANGES)
  c.batch_size = 64
  in_drops(c, 10, (5, 8))
  continuum(c)
  return choose(c, TUNED, argument, FEW_STEPS_OF_CLASSES)
