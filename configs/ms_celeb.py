"""Split MS-Celeb: 10 tasks of 1000 people, class-incremental, ResNet-18, 70 epochs.

The largest stream of iTAML (Rajasegaran et al., CVPR 2020), whose own values and figures are in
configs/itaml_ms_celeb.py: faces of 112 x 112, 30 of each person to train on and 15 to test on,
50,000 exemplars in all, batches of 256. The learning rates are those of split miniImageNet, not
tuned for this stream.

  python launch.py --config=configs/ms_celeb.py:er
  python launch.py --config=configs/ms_celeb.py:er --config.classes=1000    # 100 people a task

The publisher has withdrawn the data set: only who holds a copy that may be used can run this
(docs/data.md). Its images are read while they are needed. The time of a run is not measured;
`:tag,runlocal` trains on 10 people a task.
"""

from configs.common import FEW_STEPS, choose, compositions
from configs.mini_imagenet import COMBINED
from configs.mini_imagenet import TUNED as NEAREST
from tagjax.config.defaults import base_config

TUNED = {**NEAREST, **compositions(COMBINED, {"derpp": {}})}
# An example of each of a thousand people would already be too many: so there are fewer people.
LOCAL = {**FEW_STEPS, "classes": 100, "memory.capacity": 1000}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_ms_celeb"
  c.scenario = "class"
  c.num_tasks = 10
  c.model = "resnet18"
  c.resnet18.stem = "unpooled"
  c.normalization = "cifar"
  c.augmentation.crop = 4
  c.augmentation.flip = True
  c.augmentation.rotation = 10.0
  c.memory.capacity = 50_000
  c.memory.per = "total"
  c.batch_size = 256
  c.epochs = 70
  return choose(c, TUNED, argument, LOCAL)
