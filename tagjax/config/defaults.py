"""Every setting of a run with its default."""

import json
from typing import Any

from ml_collections import ConfigDict, config_dict


def base_config() -> ConfigDict:
  """The base of every config file; all keys with their defaults."""
  c = ConfigDict()

  # The stream of tasks.
  c.benchmark = "permuted_digits"  # a name of tagjax.benchmarks.names()
  c.scenario = config_dict.placeholder(str)  # "task", "class" or "domain"; None: the benchmark's
  c.num_tasks = config_dict.placeholder(int)  # None: the benchmark's
  c.classes = config_dict.placeholder(object)  # which are used: 100 (the first), "15-99"; None: all
  c.class_order = _anything("natural")  # or "seeded" (by data_seed), "lasem", or classes: (3, 1)
  c.classes_per_task = config_dict.placeholder(object)  # 5, or each task's: (50, 10); None: equal
  c.task_order = config_dict.placeholder(object)  # "0-4, 0-9": tasks may come again; None: once
  c.blurry_fraction = 0.0  # of each task's training examples, exchanged with the other tasks
  c.train_fraction = 1.0  # of each class's training examples, that is used at all
  c.label_noise = 0.0  # fraction of the training labels that are wrong
  c.data_seed = 0  # splits, permutations, angles: the same for every seed of the run
  c.data_dir = config_dict.placeholder(str)  # None: $TFDS_DATA_DIR, or ~/tensorflow_datasets
  c.input = "auto"  # images in "memory", or a "stream" from the files; "auto": by their size
  c.validation_fraction = 0.0  # of each task's training examples, set aside
  c.evaluate_on = "test"  # "test" or "validation" (choose hyperparameters on the latter)
  c.train_examples_per_task = config_dict.placeholder(int)  # None: all
  c.test_examples_per_task = config_dict.placeholder(int)  # None: all
  c.image_folders = config_dict.placeholder(str)  # benchmark "image_folders": a folder of tasks
  c.image_size = config_dict.placeholder(int)  # of streams of several data sets; None: their own
  c.image_resize = "stretch"  # images of your own folders: "stretch", or "crop" what overhangs
  c.test_fraction = 0.2  # of your own folders that have no test images
  c.first_task = 0  # leave the tasks before it out, such as those that chose the hyperparameters
  c.end_task = config_dict.placeholder(int)  # and those from it on; None: none
  c.normalization = (
    "unit"  # pixels: "unit" [0, 1], "signed" [-1, 1], ...: tagjax/input_pipeline/normalization.py
  )
  c.augmentation = ConfigDict()  # random changes of training images, in this order
  c.augmentation.crop = 0  # pixels by which they are shifted at most
  c.augmentation.flip = False  # half of them are mirrored, left to right
  c.augmentation.rotation = 0.0  # degrees by which they are turned at most
  c.augmentation.colour = 0.0  # brightness, contrast, saturation change by this fraction at most

  # The model.
  c.model = "mlp"  # a name of tagjax.config.registry.MODELS, such as "reduced_resnet", "resnet18"
  c.dropout = 0.0  # probability of dropping a unit, of models without rates of their own below
  c.pretrained = config_dict.placeholder(str)  # torchvision's file of "resnet18" or "alexnet"
  c.compute_dtype = "float32"  # of products and convolutions; "bfloat16": mixed precision
  c.mlp = ConfigDict()
  c.mlp.hidden = (256, 256)  # widths of the hidden layers
  c.reduced_resnet = ConfigDict()
  c.reduced_resnet.width = 20  # filters of the first stage
  c.resnet18 = ConfigDict()
  c.resnet18.width = 64  # filters of the first stage
  c.resnet18.stem = "imagenet"  # "imagenet", "unpooled", or "cifar" for small images
  c.alexnet = ConfigDict()
  c.alexnet.dropout = 0.5  # before each hidden linear layer
  c.cifar_alexnet = ConfigDict()
  c.cifar_alexnet.dropout = (0.2, 0.2, 0.5)  # after each convolution
  c.cifar_alexnet.hidden_dropout = 0.5  # after each hidden linear layer
  c.lasem_cnn = ConfigDict()
  c.lasem_cnn.preset = "cifar"  # "cifar", "office_home", "stl10", or deeper: see its PRESETS
  c.lasem_cnn.dropout = 0.5  # of the features after the convolutions

  # The method: names joined by "+", left to right in the chain, such as "tag_adam".
  c.method = "tag"
  c.learning_rate = 0.001
  c.tag = ConfigDict()
  c.tag.b = 5.0  # sharpness of the weights exp(-b cos)
  c.tag.bias_correction = "task"  # tag_adam's step counter restarts each "task" or "epoch"
  c.tag.accumulator_dtype = "float32"  # moments of past tasks; "bfloat16" halves TAG's state
  c.tag.shard_rows = False  # with data_parallel=D: each device holds 1/D of TAG's state
  c.stable_sgd = ConfigDict()
  c.stable_sgd.decay = 1.0  # gamma: the learning rate of task t is lr * gamma^(t+1)
  c.stable_sgd.floor = 5e-5  # but at least this
  c.stable_sgd.momentum = 0.0
  c.stable_sgd.reset = "task"  # the momentum restarts each "task" or "epoch"
  c.fresh_optimizer = False  # the optimizer's state starts anew for each task

  # Regularisers: the gradient of strength * sum(importance * (params - anchor)^2) is added.
  c.ewc = ConfigDict()
  c.ewc.strength = 1.0
  c.ewc.variant = "fixed"  # "fixed", "tag-ref" (with the reference's mask bug) or "standard"
  c.ewc.examples = 200  # of each task, for its importance; 0: all
  c.ewc.decay = 1.0  # of older importance, variant "standard"
  c.ewc.clip = config_dict.placeholder(float)  # norm of the pull; None: the variant's; 0: none
  c.mas = ConfigDict()
  c.mas.strength = 1.0
  c.mas.norm = "L2"  # of the outputs: "L2" (squared), "L1" or "vector"
  c.mas.per_batch = False  # absolute values of batches' gradients instead of examples'
  c.mas.sequence = "accumulate"  # importance: "accumulate", of the "last" task, or "recompute"
  c.mas.capacity = 200  # exemplars kept of each task, for "recompute"
  c.mas.examples = 0  # of each task; 0: all
  c.mas.normalise = "none"  # importance: "none", or divided by its "max" or "mean"
  c.mas_local = ConfigDict()
  c.mas_local.strength = 1.0
  c.mas_local.examples = 0  # of each task; 0: all
  c.si = ConfigDict()
  c.si.strength = 0.1
  c.si.damping = 1e-3  # added to the squared distance that each parameter went
  c.rwalk = ConfigDict()
  c.rwalk.strength = 1.0
  c.rwalk.decay = 0.9  # of the running Fisher
  c.rwalk.damping = 1e-3
  c.rwalk.update_every = 50  # steps
  c.rwalk.legacy = False  # the averaging of the A-GEM repository
  c.lwf = ConfigDict()  # distillation from the network of the last task's end
  c.lwf.strength = 1.0
  c.lwf.temperature = 2.0

  # Exemplars of past tasks, for replay and projection.
  c.memory = ConfigDict()
  c.memory.capacity = 1  # exemplars kept
  c.memory.per = "class"  # for each "class" of each task, or in "total"
  c.memory.batch_size = config_dict.placeholder(int)  # replayed a step; None: batch_size
  c.er = ConfigDict()  # for er and er_ace
  c.er.strength = 1.0
  c.er.variant = "item"  # reservoir: per "item", or per batch as the "reference"
  c.der = ConfigDict()  # for der and derpp
  c.der.strength = 0.5  # of the distance to the stored logits
  c.der.label_strength = 0.5  # of the replayed labels; derpp only
  c.gem = ConfigDict()
  c.gem.margin = 0.5  # least weight of a violated constraint
  c.gem.eps = 1e-3  # added to the diagonal of the dual problem

  # Training.
  c.protocol = "sequential"  # or as bounds "multitask", "joint", "independent": see PROTOCOLS
  c.cycles = 6  # rounds through all tasks, protocol "multitask"
  c.epochs = 1  # a task
  c.batch_size = 10  # over all devices
  c.drop_last = False  # drop a task's last, smaller batch
  c.data_parallel = 1  # devices, of all processes, that share each batch
  c.seeds = 1  # runs of the whole stream, with seeds seed, seed + 1, ...
  c.seed_axis = "auto"  # seeds side by side ("vmap"), in turn ("loop"), shared out to "devices"
  c.seeds_together = config_dict.placeholder(int)  # most of them side by side; None: what has room
  c.seed = 1  # initialisation, order of the examples, dropout

  # Grids: every point is trained with every seed, the best is chosen on validation examples.
  c.sweep = config_dict.placeholder(object)  # such as {"learning_rate": [0.1, 0.01], "tag.b": [3]}
  c.sweep_tasks = config_dict.placeholder(int)  # train on the first so many tasks only; None: all

  # Evaluation.
  c.eval_batch_size = 256  # at most; the passes over a task are equally large
  c.evaluate_future_tasks = False  # also on tasks not seen yet, for forward transfer
  c.learning_curve_batches = 0  # evaluate each task before its first so many minibatches
  c.forgetting = "agem"  # definition: "agem", "tag" or "diagonal"

  # Keeping.
  c.checkpoint_every = 1000  # steps, besides the end of each task; 0: only there
  c.keep_checkpoints = 2
  c.chunk_steps = 100  # steps of one compiled call, between two lines of progress
  c.plots = True  # write the pictures
  return c


def _anything(default: Any) -> config_dict.FieldReference:
  """A key that takes values of several types, such as a name or a sequence of numbers."""
  return config_dict.FieldReference(default, field_type=object)


def to_dict(config: ConfigDict) -> dict[str, Any]:
  """The config as plain JSON values."""
  return json.loads(json.dumps(config.to_dict()))


PROTOCOLS = ("sequential", "multitask", "joint", "independent")
"""How a run goes through the tasks, see `visits`."""
