"""Split CUB: 20 tasks of 10 kinds of birds, pretrained ResNet-18, one epoch, batches of 10.

The third benchmark of the TAG paper (Malviya, Ravindran, Chandar, CoLLAs 2022), with the values
that its authors chose for each method: photographs of 224 x 224, about 300 a task, the last smaller
batch left out. Recorded by the authors, 5 seeds, average accuracy in %:

  sgd 54.9   rmsprop 49.4   tag 61.6   adagrad 55.4   tag_adagrad 61.8   adam 44.2   tag_adam 57.5
  ewc 55.7   agem 56.9   er 59.3   stable_sgd 53.8   multitask 71.7
  ewc+tag 59.5   agem+tag 62.9   er+tag 67.5
  ewc+rmsprop 50.9   agem+rmsprop 51.5   er+rmsprop 60.0
  five epochs: sgd 59.9   ewc 59.7   agem 62.7   er 66.1   stable_sgd 58.8   rmsprop 35.9   tag 68.0
  er by exemplars a class: 2 64.6   3 67.7   5 68.9   10 70.7

The network starts with what it has learnt on ImageNet, all but its head. That is the file of
torchvision's `resnet18` (`resnet18-f37072fd.pth`, or the same tensors as .npz or .safetensors),
which you fetch yourself. Without `config.pretrained` the network starts at random, which is
another experiment: the figures above do not hold for it.

  python launch.py --config=configs/cub.py:tag --config.pretrained=resnet18-f37072fd.pth

Pixels are standardised as these weights expect. The authors' code mixes up the colours' means and
makes them a hundred times as large, `--config.normalization=legacy_cub`; their EWC has the wrong
task's mask, `--config.ewc.variant=tag-ref`.

Needs CUB-200-2011 (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 40
examples of each of two tasks.
"""

from configs.common import FEW_STEPS, choose, compositions
from tagjax.config.defaults import base_config

OPTIMIZERS = {
  "sgd": {"learning_rate": 0.01},
  "rmsprop": {"learning_rate": 0.0001},
  "adagrad": {"learning_rate": 0.0005},
  "adam": {"learning_rate": 0.0001},
  "tag": {"learning_rate": 0.000025, "tag.b": 5.0},
  "tag_rmsprop": {"learning_rate": 0.000025, "tag.b": 5.0},
  "tag_adagrad": {"learning_rate": 0.0005, "tag.b": 5.0},
  "tag_adam": {"learning_rate": 0.0001, "tag.b": 5.0},
}
COMBINED = {name: OPTIMIZERS[name] for name in ("sgd", "rmsprop", "tag")}
TUNED = {
  **OPTIMIZERS,
  "stable_sgd": {"learning_rate": 0.05, "stable_sgd.decay": 0.9},
  "multitask": {"method": "sgd", "protocol": "multitask", "learning_rate": 0.01},
  **compositions(COMBINED, {"ewc": {"ewc.strength": 1.0}, "agem": {}, "er": {}}),
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_cub"
  c.num_tasks = 20
  c.model = "resnet18"
  c.normalization = "imagenet"
  c.drop_last = True
  c.forgetting = "tag"
  return choose(c, TUNED, argument, FEW_STEPS)
