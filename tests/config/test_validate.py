"""Every wrong setting is refused before data are read, with its key, its value and a way out."""

import re

import pytest

from tagjax.config.defaults import base_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError

WRONG = [
  ("benchmark", "split_cifar20", "did you mean .*split_cifar10"),
  ("model", "reduced_resnt", "did you mean reduced_resnet"),
  ("method", "tga", "config.method='tga' is unknown .did you mean tag"),
  ("method", "sgd+tag", "one optimizer, and it stands last"),
  ("method", "", "config.method='' is unknown"),
  ("method", "agem+gem+tag", "second projection undoes the first; keep one of agem, gem"),
  ("method", "er+derpp", "two reservoirs would replay the same past; keep one of derpp, er"),
  ("method", "er_ace+er", "two reservoirs would replay the same past"),
  ("compute_dtype", "float16", "There are: float32, bfloat16"),
  ("normalization", "zscore", "There are: unit, signed"),
  ("scenario", "clas", "did you mean class"),
  ("class_order", "random", "There are: natural, seeded, lasem"),
  ("class_order", (0, 1.5), "must be a text, or whole numbers in brackets"),
  ("class_order", "seeded", "permuted_digits has no use for it: leave it 'natural'"),
  ("classes", "5-", "must be a sequence of integers from 0, or such a text as '0-4, 7'"),
  ("classes", 0, "must be an integer of at least 1"),
  ("classes_per_task", 2.5, "must be a whole number, a text, whole numbers in brackets, or none"),
  ("task_order", "0, x", "must be a sequence of integers"),
  ("blurry_fraction", 1.0, "must be a fraction in .0, 1."),
  ("label_noise", -0.5, "must be a fraction in .0, 1."),
  ("train_fraction", 0.0, "must be a fraction in .0, 1."),
  ("validation_fraction", -0.1, "must be a fraction in .0, 1."),
  ("data_seed", -1, "must be an integer of at least 0"),
  ("input", "disk", "There are: auto, memory, stream"),
  ("image_folders", "/here", "permuted_digits has no use for it: leave it None"),
  ("image_size", 0, "must be an integer of at least 1"),
  ("image_resize", "pad", "There are: stretch, crop"),
  ("test_fraction", 0.0, "a task needs test examples"),
  ("num_tasks", 0, "must be at least 1"),
  ("first_task", -1, "must be at least 0"),
  ("end_task", 0, "must be at least 1"),
  ("sweep_tasks", 2, "there is no config.sweep"),
  ("train_examples_per_task", -5, "must be an integer of at least 1"),
  ("test_examples_per_task", 0, "must be an integer of at least 1"),
  ("evaluate_on", "train", "There are: test, validation"),
  ("evaluate_on", "validation", "set config.validation_fraction"),
  ("forgetting", "gem", "is unknown .did you mean agem"),
  ("protocol", "jont", "is unknown .did you mean joint"),
  ("protocol", "joint", "leaves tag no past tasks; use its base optimizer"),
  ("fresh_optimizer", True, "would delete what tag knows of past tasks"),
  ("seed_axis", "vmapp", "did you mean vmap"),
  ("epochs", 0, "must be at least 1"),
  ("batch_size", -10, "must be at least 1"),
  ("seeds", 0, "must be at least 1"),
  ("seed", -1, "must be at least 0"),
  ("seeds_together", 0, "must be at least 1"),
  ("chunk_steps", 0, "must be at least 1"),
  ("checkpoint_every", -1, "must be at least 0"),
  ("keep_checkpoints", 0, "must be at least 1"),
  ("augmentation.crop", -1, "must be at least 0"),
  ("augmentation.rotation", 200.0, "must be in degrees, 0 to 180"),
  ("augmentation.colour", 2.0, "must be in .0, 1."),
  ("learning_rate", 0.0, "must be positive and finite"),
  ("learning_rate", float("nan"), "must be a finite number"),
  ("test_fraction", float("inf"), "must be a finite number"),
  ("seed", 10**30, "must be a whole number, at most"),
  ("batch_size", 10**22, "must be a whole number, at most"),
  ("epochs", 10**12, "must be at most 1000000"),
  ("seeds", 2 * 10**8, "must be at most 10000"),
  ("learning_curve_batches", 10**9, "must be at most 10000"),
  ("num_tasks", 10**8, "must be an integer of at most 100000"),
  ("task_order", "0-999999999999", "must have at most 1000000 integers"),
  ("task_order", "0-999999,5", "must have at most 1000000 integers"),
  ("classes", "0-99999999999", "must have at most 1000000 integers"),
  ("schedule", "cosin", "is unknown .did you mean cosine"),
  ("schedule_over", "epoch", "There are: task, stream"),
  ("freeze", ("",), "must be names of parameters"),
  ("pretrained", "weights.pth", "model='mlp' takes no weights.*choose alexnet or resnet18"),
  ("shard_state", True, "one device alone holds the state; set data_parallel"),
  # Types and choices are checked whether they are used or not.
  ("ewc.variant", "old", "There are: fixed, tag-ref, standard"),
  ("tag.bias_correction", "step", "There are: task, epoch"),
  ("tag.accumulator_dtype", "float16", "There are: float32, bfloat16"),
  ("stable_sgd.reset", "never", "There are: task, epoch"),
  ("resnet18.stem", "cifr", "did you mean cifar"),
  ("convolutions.preset", "stl", "There are: cifar, office_home, stl10"),
  ("cifar_alexnet.dropout", (0.2, 0.2), "must have 3 values, and has 2"),
  ("memory.per", "task", "There are: class, total"),
]

WRONG_OF_METHODS = [
  # Method, key, value; ranges are the method's own checks.
  ("tag", "tag.b", -1.0, "must be a number in .0, 80."),
  ("tag", "tag.b", 100.0, "must be a number in .0, 80."),
  ("rwalk", "rwalk.decay", 0.0, "must be a number in .0, 1."),
  ("rwalk", "rwalk.update_every", 0, "must be an integer of at least 1"),
  ("stable_sgd", "stable_sgd.momentum", 1.0, "must be a number in .0, 1."),
  ("stable_sgd", "stable_sgd.decay", 0.0, "must be a number in .0, inf."),
  ("sgd", "sgd.momentum", 1.5, "must be a number in .0, 1."),
  ("ewc", "ewc.strength", -1.0, "must be a number in .0, inf."),
  ("ewc", "ewc.decay", 0.5, "has no"),
  ("ewc", "ewc.examples", 0, "must be an integer of at least 1"),
  ("mas", "mas.examples", 0, "must be an integer of at least 1"),
  ("si", "si.damping", 0.0, "must be a number in .0, inf."),
  ("lwf", "lwf.temperature", 0.0, "must be a number in"),
  ("weight_decay", "weight_decay.strength", -0.1, "must be a number in .0, inf."),
  ("clip", "clip.max_norm", 0.0, "must be a number in"),
  ("er", "memory.capacity", -1, "must be a whole number, 0 .no memory. or more"),
  ("er", "memory.batch_size", 0, "must be a whole number, at least 1"),
  ("gem", "gem.margin", -1.0, "must be a number in"),
  ("adamw", "adamw.weight_decay", None, "must be a number"),
  ("adamw", "adamw.b1", float("nan"), "must be a finite number"),
  ("er", "er.strength", float("nan"), "must be a finite number"),
]

WRONG_OF_MODELS = [
  ("mlp", "mlp.dropout", 1.0, "must be in .0, 1."),
  ("mlp", "mlp.hidden", (10, -1), "must be positive integers"),
  ("resnet18", "resnet18.epsilon", float("nan"), "must be a finite number"),
  ("resnet18", "resnet18.width", 0, "must be positive integers"),
  ("reduced_resnet", "reduced_resnet.dropout", -0.5, "must be in .0, 1."),
  ("lasem_cnn", "convolutions.dropout", 1.0, "must be in .0, 1."),
  ("alexnet", "alexnet.dropout", -0.1, "must be in .0, 1."),
  ("cifar_alexnet", "cifar_alexnet.hidden_dropout", 1.0, "must be in .0, 1."),
  ("cifar_alexnet", "cifar_alexnet.dropout", (0.1, 0.2, 1.0), "must be in .0, 1.|three rates"),
]


def check_refused(changes, key, message):
  config = base_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=message) as error:
    validate(config)
  text = str(error.value)
  assert "\n" not in text
  assert re.match(rf"config\.{key}(=| )", text), text
  assert repr(changes[key]) in text, text


def test_the_base_config_is_valid():
  assert validate(base_config())["method"] == "tag"


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_wrong_values(key, value, message):
  check_refused({key: value}, key, message)


@pytest.mark.parametrize(("method", "key", "value", "message"), WRONG_OF_METHODS)
def test_what_a_method_refuses(method, key, value, message):
  check_refused({"method": method, key: value}, key, message)


@pytest.mark.parametrize(("model", "key", "value", "message"), WRONG_OF_MODELS)
def test_what_a_model_refuses(model, key, value, message):
  check_refused({"model": model, key: value}, key, message)


@pytest.mark.parametrize(
  ("schedule", "key", "value", "message"),
  [
    ("step", "step.every", None, "at=.*: give one of them, in epochs"),
    ("exponential", "exponential.end", -1.0, "must be a number in"),
    ("step", "step.at", (-3,), "must be epochs"),
    ("cosine", "cosine.end", -0.5, "must be a number in"),
    ("cosine", "cosine.warmup", -1, "must be a number of epochs"),
    ("cosine_decay_schedule", "cosine_decay_schedule.alpha", None, "must be a number"),
  ],
)
def test_what_a_schedule_refuses(schedule, key, value, message):
  check_refused({"schedule": schedule, key: value}, key, message)


def test_a_folder_that_is_not_named_is_asked_for():
  config = base_config()
  config.benchmark = "image_folders"
  with pytest.raises(ConfigError, match=r"^config.image_folders=None: name the folder that holds"):
    validate(config)


def test_batches_are_shared_evenly():
  config = base_config()
  config.data_parallel = 3
  message = r"^config.batch_size=10 cannot be shared by data_parallel=3 devices: choose a multiple"
  with pytest.raises(ConfigError, match=message):
    validate(config)


@pytest.mark.parametrize(
  "changes",
  [
    {"method": "rwalk", "rwalk.decay": 1.0},  # nothing of the past is kept
    {"method": "ewc", "ewc.examples": None, "ewc.clip": None},
    {"method": "ewc", "ewc.variant": "standard", "ewc.decay": 0.5, "ewc.clip": 3},
    {"method": "mas", "mas.examples": None, "mas.clip": None},
    {"method": "weight_decay+clip+er+adamw", "adamw.weight_decay": 1e-4, "memory.capacity": 0},
    {"method": "sgd", "protocol": "joint", "fresh_optimizer": True},
    {"method": "clip+weight_decay+sgd", "protocol": "joint"},
    {"shard_state": True, "data_parallel": 2},
    {"schedule": "cosine", "schedule_over": "stream"},
    {"freeze": ("hidden*",)},
    {"model": "resnet18", "pretrained": "weights.pth"},  # it is read when the run begins
    {"model": "alexnet", "alexnet.dropout": 0.0},
    {"seeds_together": None, "num_tasks": None, "scenario": None},
    {"rwalk.decay": 0.0},  # nothing reads it; the command line says so
  ],
  ids=str,
)
def test_what_can_work_is_valid(changes):
  config = base_config()
  config.update_from_flattened_dict(changes)
  validate(config)


@pytest.mark.parametrize("classes", [None, "15-99", 50])
@pytest.mark.parametrize("order", ["lasem", "seeded", tuple(range(50))])
def test_classes_and_orders_are_names_texts_or_sequences(classes, order):
  config = base_config()
  config.benchmark = "split_cifar100"
  config.classes, config.class_order, config.task_order = classes, order, (1, 0, 1)
  config.classes_per_task = (5, 3)
  values = validate(config)
  assert (values["classes"], values["class_order"]) == (classes, order)


def test_modifiers_without_a_rule_for_tasks_that_come_again_are_refused():
  config = base_config()
  config.method, config.visit_order, config.benchmark = "er+sgd", "0-1, 0-4", "split_digits"
  with pytest.raises(ConfigError, match="er has no rule for a task that comes again"):
    validate(config)
  config.method = "tag"
  assert validate(config)["visit_order"] == "0-1, 0-4"


def test_modifiers_that_need_the_past_are_refused_where_there_is_none():
  config = base_config()
  config.method, config.protocol = "er+sgd", "multitask"
  message = "config.protocol='multitask': leaves er nothing to protect; use an optimizer alone"
  with pytest.raises(ConfigError, match=message):
    validate(config)
