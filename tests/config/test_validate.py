"""Every wrong setting is refused with its key, its value and a way out."""

import pytest

from tagjax.config.defaults import base_config, to_dict
from tagjax.config.grid import at_point
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError

WRONG = [
  ("benchmark", "split_cifar20", "did you mean .*split_cifar10"),
  ("model", "reduced_resnt", "did you mean reduced_resnet"),
  ("method", "tga", "config.method='tga' is unknown .did you mean tag"),
  ("method", "sgd+tag", "one optimizer, and it stands last"),
  ("method", "", "config.method='' is unknown"),
  ("compute_dtype", "float16", "There are: float32, bfloat16"),
  ("normalization", "zscore", "There are: unit, signed"),
  ("scenario", "clas", "did you mean class"),
  ("class_order", "random", "There are: natural, seeded, lasem"),
  ("class_order", (0, 1.5), "must be a sequence of integers"),
  ("class_order", "seeded", "permuted_digits has no use for it: leave it 'natural'"),
  ("classes", "5-", "must be a sequence of integers"),
  ("classes", 0, "must be an integer of at least 1"),
  ("classes_per_task", 2.5, "must be a sequence of integers"),
  ("task_order", "0, x", "must be a sequence of integers"),
  ("blurry_fraction", 1.0, "must be in .0, 1."),
  ("label_noise", -0.5, "must be in .0, 1."),
  ("train_fraction", 0.0, "must be in .0, 1."),
  ("rwalk.decay", 0.0, "must be in .0, 1."),
  ("image_folders", "/here", "permuted_digits has no use for it: leave it None"),
  ("image_size", 0, "must be an integer of at least 1"),
  ("image_resize", "pad", "There are: stretch, crop"),
  ("test_fraction", 0.0, "a task needs test examples"),
  ("benchmark", "image_folders", "config.image_folders is None: name the folder"),
  ("evaluate_on", "train", "There are: test, validation"),
  ("evaluate_on", "validation", "set config.validation_fraction"),
  ("forgetting", "gem", "config.forgetting='gem' is unknown"),
  ("tag.bias_correction", "step", "There are: task, epoch"),
  ("tag.accumulator_dtype", "float16", "There are: float32, bfloat16"),
  ("tag.b", -1.0, "must be at least 0"),
  ("stable_sgd.reset", "never", "There are: task, epoch"),
  ("stable_sgd.momentum", 1.0, "must be in .0, 1."),
  ("stable_sgd.decay", 0.0, "must be positive"),
  ("num_tasks", 0, "config.num_tasks=0: must be at least 1"),
  ("train_examples_per_task", -5, "config.train_examples_per_task=-5: must be at least 1"),
  ("epochs", 0, "must be at least 1"),
  ("batch_size", -10, "config.batch_size=-10: must be at least 1"),
  ("seeds", 0, "must be at least 1"),
  ("seed", -1, "must be at least 0"),
  ("chunk_steps", 0, "must be at least 1"),
  ("checkpoint_every", -1, "must be at least 0"),
  ("dropout", 1.0, "config.dropout=1.0: must be in"),
  ("validation_fraction", -0.1, "must be in"),
  ("learning_rate", 0.0, "must be positive and finite"),
  ("learning_rate", float("nan"), "must be positive and finite"),
  ("mlp.hidden", (10, -1), "widths must be positive integers"),
  ("resnet18.width", 0, "must be at least 1"),
  ("resnet18.stem", "cifr", "did you mean cifar"),
  ("lasem_cnn.preset", "stl", "There are: cifar, office_home, stl10"),
  ("lasem_cnn.dropout", 1.0, "must be in .0, 1."),
  ("alexnet.dropout", -0.1, "must be in .0, 1."),
  ("cifar_alexnet.hidden_dropout", 1.0, "must be in .0, 1."),
  ("cifar_alexnet.dropout", (0.2, 0.2), "give three rates"),
  ("pretrained", "weights.pth", "model='mlp' takes no weights.*choose alexnet or resnet18"),
  ("data_parallel", 3, "choose a multiple"),
  ("tag.shard_rows", True, "config.tag.shard_rows=True: there is one device only"),
]


def test_base_config_is_valid_and_json():
  validate(base_config())
  assert to_dict(base_config())["mlp"]["hidden"] == [256, 256]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_wrong_values(key, value, message):
  config = base_config()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ConfigError, match=message) as error:
    validate(config)
  assert "\n" not in str(error.value)
  place = "image_folders" if value == "image_folders" else key
  assert f"config.{place}" in str(error.value)


def test_rwalk_may_keep_nothing_of_the_past():
  config = base_config()
  config.method, config.rwalk.decay = "rwalk", 1.0
  validate(config)


@pytest.mark.parametrize("model", ["alexnet", "cifar_alexnet", "lasem_cnn"])
def test_dropout_of_a_model_with_rates_of_its_own(model):
  config = base_config()
  config.model = model
  validate(config)
  config.dropout = 0.25
  message = rf"config.dropout=0.25: {model} has rates of its own; set config.{model}.dropout"
  with pytest.raises(ConfigError, match=message):
    validate(config)


def test_unknown_keys_of_a_config_file_are_refused():
  config = base_config()
  config.learning_rat = 0.1
  with pytest.raises(ConfigError, match=r"config.learning_rat is no key.*learning_rate"):
    validate(config)
  config = base_config()
  config.tag.beta = 0.1
  with pytest.raises(ConfigError, match=r"config.tag.beta is no key"):
    validate(config)


def test_classes_and_orders_are_names_texts_or_sequences():
  config = base_config()
  config.benchmark = "split_cifar100"
  for classes, order in ((None, "lasem"), ("15-99", "seeded"), (50, tuple(range(50)))):
    config.classes, config.class_order, config.task_order = classes, order, (1, 0, 1)
    config.classes_per_task = (5, 3)
    validate(config)
    assert at_point(config, {"learning_rate": 0.5}).class_order == order
  assert to_dict(config)["task_order"] == [1, 0, 1]


def test_wrong_types_are_refused_when_set():
  with pytest.raises(TypeError):
    base_config().epochs = "many"
