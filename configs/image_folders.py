r"""Your own images: a task for each folder, images of 64 x 64, reduced ResNet, one epoch.

The folder that you name holds a folder for each task, in the order of their names, and each of
these `CLASS/FILE`, or `train/CLASS/FILE` and `test/CLASS/FILE` (docs/benchmarks.md):

  python -m tagjax.benchmarks describe image_folders --image_folders=photographs
  python launch.py --config=configs/image_folders.py:tag --config.image_folders=photographs
  python launch.py --config=configs/image_folders.py:er --config.image_folders=photographs \
      --config.image_size=128 --config.image_resize=crop --config.epochs=5

The learning rates are those of split CIFAR-100 (configs/cifar.py), not tuned for your images:
docs/grids.md chooses them on validation examples. `:tag,runlocal` trains on the first two tasks.
"""

from configs.cifar import TUNED
from configs.common import choose
from tagjax.config.defaults import base_config


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "image_folders"
  c.model = "reduced_resnet"
  # Only the user knows how many images a task has: it is not the images that are fewer.
  return choose(c, TUNED, argument, {"num_tasks": 2, "epochs": 1})
