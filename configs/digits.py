"""Permuted digits: 10 tasks, MLP, one epoch, batches of 10; the embedded default.

scikit-learn's 1,797 digits of 8 x 8 pixels, the pixels permuted anew for each task: no download,
a few seconds. Validation data chose the learning rates: docs/tuning.md.

  python launch.py --config=configs/digits.py:rmsprop --config.seeds=5
"""

from configs.common import choose
from tagjax.config.defaults import base_config

TUNED = {
  "sgd": {"learning_rate": 0.2},
  "rmsprop": {"learning_rate": 0.005},
  "adagrad": {"learning_rate": 0.05},
  "adam": {"learning_rate": 0.0005},
  "tag": {"learning_rate": 0.002},
  "tag_rmsprop": {"learning_rate": 0.002},
  "tag_adagrad": {"learning_rate": 0.02},
  "tag_adam": {"learning_rate": 0.005},
  "stable_sgd": {"learning_rate": 0.2, "stable_sgd.decay": 0.9},
}


def get_config(argument: str = "tag"):
  c = base_config()
  c.benchmark = "permuted_digits"
  c.num_tasks = 10
  c.model = "mlp"
  c.mlp.hidden = (100, 100)
  c.seeds = 5
  return choose(c, TUNED, argument)
