"""iTAML's split MS-Celeb: 10 tasks of 1000 people, class-incremental, ResNet-18, 50,000 exemplars.

The values of the authors' script (Rajasegaran et al., CVPR 2020): faces of 112 x 112, 30 of each
person to train on and 15 to test on, RAdam, 70 epochs a session, the rate 0.01 divided by 5 before
epochs 20, 40 and 60 of each, batches of 256, beta 1, random shifts, mirror images and turns, pixels
standardised with CIFAR-100's figures. One run of theirs, top-5 accuracy in % after each session
with runs of p = 20 test images, and of others at the end:

  itaml 94.05 95.56 96.02 95.75 95.50 95.39 95.22 95.13 95.00 95.02   (task accuracy 100)
  bic 87.6   icarl 65.5   rps_net 65.0

  python launch.py --config=configs/itaml_ms_celeb.py:itaml
  python launch.py --config=configs/itaml_ms_celeb.py:itaml --config.classes=1000
  python launch.py --config=configs/itaml_ms_celeb.py:bic

Their 10,000 people are drawn from a listing of folders and cannot be drawn again. The other methods
have the values of the same script, which is not tuned for them, nor is TAG.

The publisher has withdrawn the data set: only who holds a copy that may be used can run this
(docs/data.md). Its images are read while they are needed. Expected time of a seed: some 3500 hours
of a CPU core: for an accelerator; estimated as in configs/itaml_imagenet.py, for 50 million
images. `:itaml,runlocal` trains on 10 people a task.
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
# An example of each of a thousand people would already be too many: so there are fewer people.
LOCAL = {**FEW_STEPS_OF_CLASSES, "classes": 100}


def get_config(argument: str = "itaml"):
  c = base_config()
  c.benchmark = "split_ms_celeb"
  c.num_tasks = 10
  c.model = "resnet18"
  c.normalization = "cifar"
  c.update_from_flattened_dict(RANDOM_CHANGES)
  c.batch_size = 256
  c.eval_batch_size = 100
  in_drops(c, 70, (20, 40, 60))
  c.top_k = 5
  continuum(c)
  c.confusion_matrix = False  # of 10,000 people
  c.memory.capacity = 50_000
  return choose(c, TUNED, argument, LOCAL)
