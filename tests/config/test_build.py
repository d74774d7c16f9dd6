"""Objects made from names: models, methods, streams, options, and weights from a file."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.config import build, early
from tagjax.config.settings import typed, used_keys
from tagjax.config.validate import validate
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError
from tagjax.core.method import Boundary, Method, Step, lift
from tagjax.core.register import declared, find, forget, register
from tagjax.core.types import StreamSpec
from tagjax.engine.model import as_model, variable_shapes
from tagjax.input_pipeline.augmentation import Augmentation
from tagjax.methods import ewc
from tagjax.models import MLP, LeNet
from tagjax.training.options import RunOptions

SPEC = StreamSpec(2, 4, np.kron(np.eye(2, dtype=bool), [[True] * 2]), "task", (32, 32, 3))
SPEC = SPEC._replace(attributes=np.eye(4, 3, dtype=np.float32) + 1)
STEPS = [5, 5]
STEP = Step(*[None] * len(Step._fields))._replace(task_id=jnp.int32(0), key=jax.random.key(0))
BOUNDARY = Boundary(*[None] * len(Boundary._fields))._replace(key=jax.random.key(0))
PARAMS = {"hidden": {"kernel": jnp.ones((3, 2))}, "head": {"kernel": jnp.ones((2, 4))}}


def method(spelling, stacked=None, hyper=None, **changes):
  changes = {key.replace("__", "."): value for key, value in changes.items()}
  made = build.build_method(typed({"method": spelling, **changes}), SPEC, STEPS, stacked)
  return made(hyper or {})


@pytest.mark.parametrize("name", declared("optimizer", "modifier"))
def test_every_method_can_be_named_and_made(name):
  made = method(name)
  assert isinstance(made, Method)
  assert made.name == (name if name in declared("optimizer") else f"{name}+sgd")


NEEDED = {
  "by_task": {"factors": (1.0, 0.5)},
  "step": {"every": 1},
  "exponential_decay": {"decay_rate": 0.5},
  "piecewise_interpolate_schedule": {"interpolate_type": "linear"},
  "polynomial_schedule": {"power": 2.0},
  "sgdr_schedule": {
    "cosine_kwargs": "[{'init_value': 0.0, 'peak_value': 1.0, 'warmup_steps': 1, 'decay_steps': 5}]"
  },
  "warmup_constant_schedule": {"warmup_steps": 1},
  "warmup_cosine_decay_schedule": {"warmup_steps": 1},
  "warmup_exponential_decay_schedule": {"warmup_steps": 1, "decay_rate": 0.5},
}
"""Options of schedules that have no default."""


@pytest.mark.parametrize("name", declared("schedule"))
def test_every_schedule_can_be_named_and_made(name):
  options = {f"{name}__{option}": value for option, value in NEEDED.get(name, {}).items()}
  assert method("sgd", schedule=name, **options).name == "sgd+schedule"


@pytest.mark.parametrize("name", declared("model"))
def test_every_model_gets_the_head_of_the_stream(name):
  settings = typed({"model": name, "compute_dtype": "bfloat16"})
  spec = SPEC._replace(image_shape=(64, 64, 3))
  model = build.build_model(settings, spec)
  network = getattr(model, "features", model)  # of a joint embedding
  assert (network.num_outputs, network.compute_dtype) == (4, jnp.bfloat16)
  shapes = variable_shapes(model, spec)
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(shapes)}
  assert {dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)} == {
    jnp.dtype("float32")
  }


def test_every_option_of_every_model_reaches_it():
  for name, one in declared("model").items():
    for option in one.options.values():
      value = other(option.default)
      if value is None:
        continue
      model = build.build_model(typed({"model": name, f"{name}.{option.name}": value}), SPEC)
      if hasattr(model, option.name):
        assert getattr(model, option.name) == value, (name, option.name)


def other(default):
  """Another value of the same kind that models take."""
  if isinstance(default, bool):
    return not default
  if isinstance(default, int):
    return default + 1
  if isinstance(default, float):
    return 0.25 if default <= 1 else 2 * default
  if isinstance(default, tuple) and all(isinstance(one, int) for one in default):
    return tuple(one + 1 for one in default)
  return None


def test_a_joint_embedding_holds_the_network_that_is_named():
  values = {"model": "joint_embedding", "joint_embedding.features": "lenet", "mlp.hidden": (3,)}
  chosen = typed({**values, "lenet.dropout": 0.25, "joint_embedding.shuffle_attributes": 1})
  model = build.build_model(chosen, SPEC)
  assert (type(model.features), model.features.dropout) == (LeNet, 0.25)
  assert (model.shuffle_attributes, model.attributes) == (1, tuple(map(tuple, SPEC.attributes)))
  assert {"joint_embedding.features", "lenet.dropout"} <= {*used_keys(chosen)}
  assert "mlp.hidden" not in used_keys(chosen)
  own = build.build_model(typed({"model": "joint_embedding", "mlp.hidden": (3,)}), SPEC)
  assert own.features == MLP(4, hidden=(3,))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"features": "mpl"}, "config.joint_embedding.features='mpl' is unknown .did you mean mlp"),
    ({"features": "joint_embedding"}, "choose one that holds no other"),
    ({"features": "prognn"}, "features='prognn': must be a network with one head"),
    ({"shuffle_attributes": -1}, "config.joint_embedding.shuffle_attributes=-1: must be at least"),
  ],
)
def test_what_a_joint_embedding_cannot_hold_is_told_by_its_key(changes, words):
  keys = {f"joint_embedding.{key}": value for key, value in changes.items()}
  values = typed({"model": "joint_embedding", **keys})
  with pytest.raises(ConfigError, match=words):
    validate(values)


def test_a_joint_embedding_holds_a_network_of_the_users_own(tmp_path, monkeypatch):
  (tmp_path / "nets_je.py").write_text(
    "import flax.linen as nn\n\n\n"
    "class Featured(nn.Module):\n"
    "  num_outputs: int\n  width: int = 3\n\n"
    "  @nn.compact\n"
    "  def __call__(self, image, *, features=False):\n"
    "    return nn.Dense(self.width)(image.reshape(len(image), -1))\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  values = {"model": "joint_embedding", "joint_embedding.features": "nets_je:Featured"}
  chosen = validate({**values, "Featured.width": 5})
  model = build.build_model(chosen, SPEC)
  assert type(model.features).__name__ == "Featured"
  assert model.features.width == 5
  assert "Featured.width" in used_keys(chosen)
  forget("Featured")


def test_a_joint_embedding_without_attributes_is_refused():
  values = typed({"model": "joint_embedding"})
  with pytest.raises(ConfigError, match=r"joint_embedding in config.model='jo.*needs att"):
    build.build_model(values, SPEC._replace(attributes=None))


def test_a_preset_of_the_lasem_network_reaches_it():
  model = build.build_model(
    typed({"model": "lasem_cnn", "convolutions.preset": "office_home"}), SPEC
  )
  assert model.kernels == (11, 5, 3, 3)


def test_the_chain_is_what_its_name_says():
  """The same updates as of the objects themselves."""
  made = method("ewc+sgd", learning_rate=0.5, ewc__strength=3.0)
  expected = chain(ewc(3.0), lift(optax.sgd(0.5)))
  assert made.name == "ewc+sgd"
  assert made.settings["ewc"]["strength"] == 3.0
  state = expected.init(PARAMS)
  assert jax.tree.structure(made.init(PARAMS)[0]) == jax.tree.structure(state[0])
  grads = jax.tree.map(lambda p: 0.1 * p, PARAMS)
  updates, _ = made.update(grads, made.init(PARAMS), PARAMS, at=STEP)
  np.testing.assert_allclose(updates["head"]["kernel"], -0.05)


def test_values_of_a_grid_take_the_place_of_the_settings():
  step = jnp.float32(0.25)
  made = method("sgd", learning_rate=0.5, hyper={"learning_rate": step})
  updates, _ = made.update(PARAMS, made.init(PARAMS), PARAMS, at=STEP)
  np.testing.assert_allclose(updates["head"]["kernel"], -0.25)


def test_frozen_parameters_get_no_update():
  made = method("sgd", freeze=("hidden*",), learning_rate=0.5)
  assert made.name == "sgd+freeze"
  state = made.init(PARAMS)
  with pytest.raises(ValueError, match=r"matches no parameter .did you mean hidden"):
    method("sgd", freeze=("hiden/kernel",)).init(PARAMS)
  assert jax.tree.leaves(state) == []


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_optimizer_forgets_its_state_at_the_end_of_a_task(fresh):
  made = method("adam", fresh_optimizer=fresh)
  start = made.init(PARAMS)
  _, state = made.update(PARAMS, start, PARAMS, at=STEP)
  after, _ = made.consolidate(state, {"params": PARAMS}, at=BOUNDARY)
  forgotten = jax.tree.map(lambda a, b: bool((a == b).all()), after, start)
  assert all(jax.tree.leaves(forgotten)) == fresh


def test_task_stacked_parameters_have_a_row_of_optimizer_state_each():
  stacked = {"hidden": {"kernel": True}, "head": {"kernel": False}}
  params = {"hidden": {"kernel": jnp.ones((2, 3, 2))}, "head": PARAMS["head"]}
  size = sum(leaf.size for leaf in jax.tree.leaves(method("tag", stacked).init(params)))
  rows = 2 * 2 * 8 + 2 * 12  # two moments: a row a task of the head, one row of each task's own
  assert size < rows + 30  # and counters


@pytest.mark.parametrize(
  ("spelling", "changes", "message"),
  [
    (
      "agem",
      {"memory.per": "total", "memory.capacity": 3},
      r"config.memory.capacity=3 in total is less than .*give at least 4, or set memory.per",
    ),
    ("ewc+tag", {"ewc.decay": 0.5}, r"config.ewc.decay=0.5 has no"),
    ("tag", {"tag.b": 100.0}, r"config.tag.b=100.0: must be a number in"),
    ("nesterov", {}, "is unknown"),
    ("sgd", {"sgd.nesterov": True}, r"config.sgd.nesterov=True needs momentum"),
    ("tag+clip", {}, "one optimizer, and it stands last"),
    ("er+gdumb+sgd", {}, r"config.method='er\+gdumb\+sgd': member 1 \(gdumb\) .* put it first"),
  ],
)
def test_what_a_method_refuses_is_one_line_of_the_config(spelling, changes, message):
  with pytest.raises(ConfigError, match=message) as error:
    build.build_method(typed({"method": spelling, **changes}), SPEC, STEPS)({})
  assert "\n" not in str(error.value)


def test_an_error_that_names_no_option_names_the_method():
  @register("lab_pull", kind="modifier")
  def lab_pull(strength: float = 1.0):
    raise ValueError(f"today is no day for a pull of {strength}")

  try:
    with pytest.raises(ConfigError, match=r"^lab_pull in config.method='lab_pull\+tag': today is"):
      method("lab_pull+tag")
  finally:
    forget("lab_pull")


def test_what_the_library_provides_goes_by_its_name():
  given = {}

  @register("lab_pull", kind="modifier")
  def lab_pull(spec, num_tasks, steps_per_epoch, steps_per_task, batch_size: int | None = None):
    given.update(spec=spec, num_tasks=num_tasks, batch_size=batch_size)
    given.update(steps_per_epoch=steps_per_epoch, steps_per_task=steps_per_task)
    return lift(optax.identity())

  try:
    method("lab_pull+sgd", batch_size=7, epochs=3)
    assert given.pop("spec") is SPEC
    assert given == {
      "num_tasks": 2,
      "steps_per_epoch": (5, 5),
      "steps_per_task": (15, 15),
      "batch_size": 7,
    }
    assert list(find("lab_pull").options) == ["batch_size"]
    method("lab_pull+sgd", lab_pull__batch_size=3)
    assert given["batch_size"] == 3
  finally:
    forget("lab_pull")


def test_options_of_the_run_are_the_settings():
  settings = typed({"epochs": 3, "augmentation.crop": 2, "augmentation.flip": True, "seeds": 5})
  assert early.run_options(settings) == RunOptions(
    epochs=3, augmentation=Augmentation(crop=2, flip=True), seeds=5
  )
  with pytest.raises(ConfigError, match=r"^config.epochs=0: must be at least 1$"):
    early.run_options(typed({"epochs": 0}))


def test_a_stream_is_what_its_options_say():
  stream = build.build_stream(
    typed({"benchmark": "split_digits", "num_tasks": 5, "first_task": 1, "end_task": 4})
  )
  assert (len(stream), stream.spec.num_outputs) == (3, 10)
  with pytest.raises(ConfigError, match=r"^config.num_tasks=3, which does not divide") as error:
    build.build_stream(typed({"benchmark": "split_digits", "num_tasks": 3}))
  assert "\n" not in str(error.value)


# Weights from a file.


def settings_of(**changes):
  small = {"benchmark": "split_digits", "num_tasks": 2, "model": "resnet18", "resnet18.width": 2}
  return typed(small | {"resnet18.stem": "cifar"} | changes)


@pytest.fixture(scope="module")
def spec():
  return build.build_stream(settings_of()).spec


@pytest.fixture(scope="module")
def weights(tmp_path_factory, spec) -> str:
  """A file as torchvision would save it, for 7 outputs."""
  seven = spec._replace(num_outputs=7)
  model = build.build_model(settings_of(), seven)
  image = jax.ShapeDtypeStruct((1, *seven.image_shape), jnp.float32)
  shapes = jax.eval_shape(as_model(model, seven).init, jax.random.key(0), image)
  rng = np.random.default_rng(0)
  suffixes = {"kernel": "weight", "scale": "weight", "bias": "bias"}
  suffixes |= {"mean": "running_mean", "var": "running_var"}
  tensors = {}
  for path, leaf in jax.tree.leaves_with_path(shapes):
    _, *layer, name = (part.key for part in path)
    value = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
    tensors[f"{model.torch_names()['/'.join(layer)]}.{suffixes[name]}"] = value.transpose(axes)
  path = tmp_path_factory.mktemp("weights") / "resnet18.npz"
  np.savez(path, **tensors)
  return str(path)


def load(spec, **changes):
  settings = settings_of(**changes)
  return build.load_pretrained(settings, build.build_model(settings, spec), spec)


def test_a_file_gives_all_but_a_head_of_another_size(spec, weights, capsys):
  loaded = load(spec, pretrained=weights)
  assert "all but the head, of 10 outputs, which is new" in capsys.readouterr().err
  with np.load(weights) as file:
    kernel = loaded["params"]["stage1_block0"]["shortcut"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 0].T, file["layer2.0.downsample.0.weight"][..., 0, 0])
    np.testing.assert_array_equal(
      loaded["batch_stats"]["stem_norm"]["var"], file["bn1.running_var"]
    )
  assert "head" not in loaded["params"]


def test_a_file_with_a_head_of_the_right_size_gives_the_head_too(spec, weights, capsys):
  loaded = load(spec._replace(num_outputs=7), pretrained=weights)
  with np.load(weights) as file:
    np.testing.assert_array_equal(loaded["params"]["head"]["bias"], file["fc.bias"])
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"resnet18.width": 3}, "layer1.0.conv1.weight is .2, 2, 3, 3. and should be .3, 3, 3, 3."),
    ({"resnet18.stem": "imagenet"}, "conv1.weight is .2, 1, 3, 3. and should be .2, 1, 7, 7."),
    ({"pretrained": "/nowhere/resnet18.pth"}, "No such file"),
    ({"pretrained": "resnet18.h5"}, "must end in one of .safetensors"),
    ({"model": "mlp"}, "config.model='mlp' takes no weights"),
  ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(spec, weights, changes, message):
  changes = {"pretrained": weights} | changes
  with pytest.raises(ConfigError, match=message) as error:
    load(spec, **changes)
  assert str(error.value).startswith(f"config.pretrained={changes['pretrained']!r}: ")
  assert "\n" not in str(error.value)
