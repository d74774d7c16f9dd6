r"""Eight data sets of objects in a row, pretrained AlexNet, 100 epochs, batches of 150.

The sequence of MAS (Aljundi et al., ECCV 2018): Flowers, Scenes, Birds, Cars, Aircraft, Actions,
Letters, SVHN. The tables of the paper were not at hand: there is no figure to compare with here.

`mas` and `sgd` have the settings of the authors' code: SGD with momentum 0.9, learning rate 0.0008
that falls by ten every 54 epochs of a task, strength 1, its batches and its epochs. Their code
keeps the best network on validation data, ours the last one. Its `MAS_sequence` also decays the
weights by 1e-5 of their sign: `--config.method=weight_decay+mas --config.weight_decay.strength=1e-5
--config.weight_decay.norm=sign --config.mas.sequence=recompute`. The other learning rates are those
of split CUB (configs/cub.py), not tuned for this stream.

The network starts with what it has learnt on ImageNet, all but its head: the file of torchvision's
`alexnet` (`alexnet-owt-7be5be79.pth`, or the same tensors as .npz or .safetensors), which you fetch
yourself. Without `config.pretrained` it starts at random, which is another experiment.

  python launch.py --config=configs/object_sequence.py:mas \
      --config.pretrained=alexnet-owt-7be5be79.pth

Cars, Aircraft, Actions and Letters come from folders of yours, as train/CLASS/FILE and
test/CLASS/FILE (docs/benchmarks.md); without them `--config.num_tasks=3` learns the first three
tasks. MIT Indoor 67, the second, is to be fetched by hand (docs/data.md). TAG's state takes 16
times the memory of AlexNet's 60 million parameters: `--config.tag.accumulator_dtype=bfloat16`
halves it. The time of a run is not measured; `:tag,runlocal` trains on 40 examples of each of the
first two tasks.
"""

from configs.common import FEW_STEPS, choose, compositions
from configs.cub import COMBINED, OPTIMIZERS
from tagjax.config.defaults import base_config

SGD = {
  "learning_rate": 0.0008,
  "sgd.momentum": 0.9,
  "schedule": "step",
  "step.every": 54,
  "step.factor": 0.1,
}
MAS = {**SGD, "mas.strength": 1.0}
TUNED = {
  **OPTIMIZERS,
  "sgd": SGD,
  **compositions(COMBINED, {"ewc": {}, "agem": {}, "er": {}}),
  "mas": MAS,
  "mas+tag": {**OPTIMIZERS["tag"], "mas.strength": 1.0},
}
# Nothing is asked of the data sets beyond the first two, which may not be there.
LOCAL = {**FEW_STEPS, "num_tasks": 2}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "object_sequence"
  c.num_tasks = 8
  c.model = "alexnet"
  c.normalization = "imagenet"
  c.batch_size = 150
  c.epochs = 100
  return choose(c, TUNED, argument, LOCAL)
