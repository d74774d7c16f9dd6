"""Office-Home: 10 tasks of 13 things, products and then photographs, 1000 epochs, batches of 16.

The second benchmark of LASEM (Lee, Behpour, Eaton, ICML 2021), with the values of its authors'
code: pictures of 128 x 128, a network of four convolutions, a seventh of the training examples held
out for validation, TensorFlow 1's RMSProp at 0.00002, falling by epochs of the whole stream. For
all else see configs/lasem_cifar.py. No published figure could be found to compare with.

  python launch.py --config=configs/lasem_office_home.py:lasem_tf --config.seeds=5
  python launch.py --config=configs/lasem_office_home.py:tf_bottom3 --config.seeds=5
  python launch.py --config=configs/lasem_office_home.py:lasem_hps \
      --config.convolutions.channels="(64,256,256,256,256,256)" \
      --config.convolutions.kernels="(11,5,3,3,3,3)" --config.convolutions.pools="(3,3,1,2,1,2)"

The second is the example of the authors' README; the last has six convolutions.

Needs Office-Home, fetched by hand (docs/data.md). The time of a run is not measured;
`:lasem_hps,runlocal` trains for an epoch on 100 examples of each of two tasks.
"""

from configs.layers import choose_layers, layers_table
from tagjax.config.defaults import base_config

EXAMPLES = {"tf_bottom3": {"model": "tf", "tf.sharing": "bottom-3", "factors.orthogonality": 0.1}}
TUNED = layers_table(0.00002, 1e-4, EXAMPLES)
LOCAL = {"end_task": 2, "epochs": 1, "train_examples_per_task": 100, "test_examples_per_task": 50}


def get_config(argument: str = "lasem_hps"):
  c = base_config()
  c.benchmark = "office_home"
  c.num_tasks = 10
  c.validation_fraction = 1 / 7  # 10 % of all, and the test has 30 %
  c.convolutions.preset = "office_home"
  c.batch_size = 16
  c.epochs = 1000
  c.drop_last = True
  c.peak_accuracy = True
  return choose_layers(c, TUNED, argument, LOCAL, depth=4)
