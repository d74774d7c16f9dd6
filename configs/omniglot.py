"""Split Omniglot: 50 tasks, an alphabet of 14 to 55 characters each, reduced ResNet, one epoch.

Each character (Lake, Salakhutdinov, Tenenbaum, Science 2015) has 15 drawings to train on and 5 to
test on, 105 x 105 pixels; batches of 10. No paper gives values or figures for this stream that were
at hand. The learning rates are those of split CIFAR-100 (configs/cifar.py), not tuned for it.

  python launch.py --config=configs/omniglot.py:tag --config.seeds=5
  python launch.py --config=configs/omniglot.py:tag --config.num_tasks=10    # the first alphabets

TAG keeps two moments of every parameter for each of the 50 tasks, and the head alone has 2.3
million: `--config.tag.accumulator_dtype=bfloat16` halves that.

Needs Omniglot (docs/data.md). The time of a run is not measured; `:tag,runlocal` trains on 100
examples of each of three tasks.
"""

from configs.cifar import TUNED
from configs.common import choose
from tagjax.config.defaults import base_config

LOCAL = {"end_task": 3, "train_examples_per_task": 100, "test_examples_per_task": 50}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "split_omniglot"
  c.model = "reduced_resnet"
  return choose(c, TUNED, argument, LOCAL)
