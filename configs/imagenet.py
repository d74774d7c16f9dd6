"""Split ImageNet: 10 tasks of 10 of the first 100 classes, class-incremental, ResNet-18.

The stream of iTAML (Rajasegaran et al., CVPR 2020), whose own values and figures are in
configs/itaml_imagenet.py: photographs of 112 x 112, 2000 exemplars in all. Here with the
augmentation of their faces (configs/itaml_ms_celeb.py), and the learning rates of split
miniImageNet, not tuned for this stream. All 1000 classes, 100 a task, are
`--config.classes=1000`.

  python launch.py --config=configs/imagenet.py:er --config.seeds=3
  python launch.py --config=configs/imagenet.py:er+tag --config.seeds=3
  python launch.py --config=configs/imagenet.py:tag --config.scenario=task --config.epochs=1

Needs ImageNet, 144 GiB to be fetched by hand after registration (docs/data.md); its images are read
while they are needed. The time of a run is not measured; `:tag,runlocal` trains on 40 examples of
each of two tasks.
"""

from configs.common import FEW_STEPS, choose, compositions
from configs.mini_imagenet import COMBINED
from configs.mini_imagenet import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {**NEAREST, **compositions(COMBINED, {"derpp": {}, "lwf": {}})}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_imagenet"
  c.scenario = "class"
  c.num_tasks = 10
  c.model = "resnet18"
  c.resnet18.stem = "unpooled"
  c.normalization = "imagenet"
  c.augmentation.crop = 4
  c.augmentation.flip = True
  c.augmentation.rotation = 10.0
  c.memory.capacity = 2000
  c.memory.per = "total"
  c.batch_size = 256
  c.epochs = 70
  return choose(c, TUNED, argument, FEW_STEPS)
