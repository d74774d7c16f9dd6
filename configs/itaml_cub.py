"""iTAML's split CUB: 20 tasks of 10 kinds of birds, class-incremental, ResNet-18.

Photographs of 224 x 224 (Rajasegaran et al., CVPR 2020): a random rectangle brought to that size,
mirror images, turns of 10 degrees, pixels in 0 to 1. There is no published script; optimizer and
epochs are those of their other photographs (configs/itaml_ms_celeb.py), 2000 exemplars those of
their other streams. Of this stream they report the accuracy with the task known, over 17 tasks, by
A-GEM's protocol (configs/cub.py): 57.99 %.

  python launch.py --config=configs/itaml_cub.py:itaml
  python launch.py --config=configs/itaml_cub.py:itaml --config.pretrained=resnet18-f37072fd.pth \
      --config.normalization=imagenet
  python launch.py --config=configs/itaml_cub.py:itaml --config.first_task=3 --config.scenario=task
  python launch.py --config=configs/itaml_cub.py:er

Whether their network was pretrained is not known. Differs: their loader also changes the brightness
by a quarter, and brings images to 230 pixels first. The other methods have the same values, which
are not tuned for them, nor is TAG.

Needs CUB-200-2011 (docs/data.md). Expected time of a seed: some 800 hours of a CPU core: for
an accelerator; estimated as in configs/itaml_cifar.py, for 2.7 million images by 74 times the step
of the reduced ResNet. `:itaml,runlocal` trains on 40 examples of each of two tasks.
"""

from configs.class_incremental import (
  FEW_STEPS_OF_CLASSES,
  OF_PHOTOGRAPHS,
  continuum,
  in_drops,
  of_radam,
)
from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = of_radam()


def get_config(argument: str = "itaml"):
  c = base_config()
  c.benchmark = "split_cub"
  c.num_tasks = 20
  c.model = "resnet18"
  c.update_from_flattened_dict(OF_PHOTOGRAPHS)
  c.batch_size = 128
  c.eval_batch_size = 100
  in_drops(c, 70, (20, 40, 60))
  continuum(c)
  return choose(c, TUNED, argument, FEW_STEPS_OF_CLASSES)
