"""Bad input: one line with name, value and way out, before anything is compiled."""

import types
from typing import NamedTuple

import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tagjax.benchmarks import Stream
from tagjax.core.chain import chain
from tagjax.core.errors import ConfigError, DivergedError
from tagjax.core.method import Method, lift
from tagjax.core.types import StreamSpec
from tagjax.models import MLP
from tagjax.training import assemble, fit, sweep
from tagjax.training.checks import check_examples, check_stream
from tagjax.training.fit import fit as run
from tagjax.training.options import RunOptions

SPEC = helpers.spec(num_tasks=2)
SGD = optax.sgd(0.1)
EMPTY = helpers.Examples(
  np.zeros((0, *helpers.IMAGE), np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int32)
)


def experience(task, size=5):
  return types.SimpleNamespace(
    train=helpers.examples(SPEC, task, size), validation=EMPTY, test=helpers.examples(SPEC, task, 3)
  )


class Own:
  """An object with the stream's protocol."""

  def __init__(self, **changes):
    self.name, self.spec, self.max_value = "own", SPEC, 255
    self.sizes = [(5, 0, 3)] * 2
    self.task_names = ["one", "two"]
    self.tasks = [experience(0), experience(1)]
    for name, value in changes.items():
      setattr(self, name, value)

  def __len__(self):
    return len(self.tasks)

  def __getitem__(self, task):
    return self.tasks[task]


def changed(part="train", **arrays):
  """Two tasks, the second of which has other arrays."""
  second = experience(1)
  setattr(second, part, types.SimpleNamespace(**{**getattr(second, part)._asdict(), **arrays}))
  return [experience(0), second]


def refuse(*arguments, **options):
  raise AssertionError("something is compiled")


def refused(message, stream=None, model=None, method=SGD, **options):
  """A refusal that came after compiling would be another error."""
  stream = Own() if stream is None else stream
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(assemble.Programs, "init", refuse)
    with pytest.raises(ConfigError, match=message) as error:
      run(stream, model or MLP(4, hidden=(3,)), method, progress=False, **options)
  assert "\n" not in str(error.value)


def test_an_object_with_the_protocol_is_taken():
  check_stream(Own(), RunOptions())
  check_examples(Own(), RunOptions())


@pytest.mark.parametrize("name", ["name", "spec", "max_value", "sizes", "task_names"])
def test_what_the_stream_lacks_is_named(name):
  stream = Own()
  delattr(stream, name)
  refused(rf"^the stream \(Own\) has no '{name}': see", stream)


@pytest.mark.parametrize(
  ("changes", "options", "message"),
  [
    ({"tasks": []}, {}, r"^own: 0 tasks, and spec.num_tasks 2: they must agree"),
    ({"tasks": [experience(0)]}, {}, r"^own: 1 tasks, and spec.num_tasks 2: they must agree"),
    ({"sizes": [(5, 0, 3)]}, {}, r"^own: 2 tasks, and sizes of 1: they must agree"),
    ({"task_names": ["one"]}, {}, r"^own: 2 tasks, and task_names of 1: they must agree"),
    (
      {"sizes": [(5, 0, 3), (0, 0, 3)]},
      {},
      r"^own: task 1 has no training examples: leave the task out",
    ),
    ({"sizes": [(5, 0, 0), (5, 0, 3)]}, {}, r"^own: task 0 has no test examples: leave the task"),
    (
      {},
      {"evaluate_on": "validation"},
      r"^own: task 0 has no validation examples: give a validation_fraction",
    ),
    ({"sizes": [(5, 0, 3), (6, 0, 3)]}, {}, r"task 1: image has 5 rows, and sizes says 6: mend"),
    (
      {"tasks": changed(label=np.array([2, 3, 2, 7, 3]))},
      {},
      r"^own: the training examples of task 1 have the label 7, outside 0 to 3: renumber them, or "
      "raise num_outputs of the spec",
    ),
    (
      {"tasks": changed("test", label=np.array([2, -1, 2]))},
      {},
      r"^own: the test examples of task 1 have the label -1, outside 0 to 3",
    ),
    (
      {"tasks": changed(label=np.array([2, 3, 2, 0, 3]))},
      {},
      r"task 1 have the label 0 for task 1, which spec.classes does not name",
    ),
    ({"tasks": changed(label=np.ones(5))}, {}, r"have the labels as float64, must be integers"),
    ({"tasks": changed(task_id=np.full(5, 2))}, {}, r"the task_id 2, outside 0 to 1.*num_tasks"),
    (
      {"tasks": changed(image=np.zeros((5, 4, 4, 1)))},
      {},
      r"task 1 are float64 \(4, 4, 1\), and the spec says uint8 \(4, 4, 1\): mend image_dtype",
    ),
    (
      {"tasks": changed("test", image=np.zeros((3, 2, 2, 1), np.uint8))},
      {},
      r"the test examples of task 1 are uint8 \(2, 2, 1\), and the spec says",
    ),
    ({"tasks": [experience(0), types.SimpleNamespace()]}, {}, r"stream\[1\] has no 'train'"),
  ],
)
def test_streams_that_contradict_themselves(changes, options, message):
  refused(message, Own(**changes), **options)


def test_a_grid_asks_the_same_of_its_stream():
  with pytest.raises(ConfigError, match="own: task 0 has no validation examples"):
    sweep.sweep(Own(), MLP(4), lambda h: optax.sgd(h["lr"]), grid={"lr": [0.1]}, progress=False)


class Outputs(nn.Module):
  num_outputs: int

  @nn.compact
  def __call__(self, image):
    return nn.Dense(self.num_outputs)(image.reshape(len(image), -1))


class Rows(nnx.Module):
  """Has been made, where its class is asked for."""


@pytest.mark.parametrize(
  ("model", "message"),
  [
    (Outputs(3), "the model gives 3 outputs, the stream has 4: make its last layer 4 wide"),
    (Rows(), "Rows.*class"),
    ("mlp", "str"),
  ],
  ids=["width", "nnx", "text"],
)
def test_models_that_do_not_fit(model, message):
  refused(rf"^model: .*{message}", model=model)


@pytest.mark.parametrize("method", [None, "sgd", 3])
def test_what_is_no_method(method):
  refused(
    r"^method is \w+: give a tagjax.Method, an Optax transformation, or a function", method=method
  )


class Kept(NamedTuple):
  """The state of a method of one's own."""

  mean: jax.Array
  count: jax.Array


def own(update=None, consolidate=None, name="lab_pull", **changes):
  """A method of one's own, which is sound unless it is told otherwise."""

  def init(params):
    del params
    return Kept(jnp.zeros(3), jnp.zeros((), jnp.int32))

  def keep(updates, state, params, *, at):
    del params, at
    return updates, update(state) if update else state

  def end(state, variables, *, at):
    del at
    return (consolidate(state) if consolidate else state), variables

  return Method(init, keep, end, name=name, num_boundary_examples=4, **changes)


CHANGES = {
  "dtype": (
    lambda state: state._replace(mean=state.mean.astype(jnp.float16)),
    r".mean was float32\[3\] and is float16\[3\]; give it back with the shape and dtype",
  ),
  "shape": (
    lambda state: state._replace(mean=jnp.concatenate([state.mean, state.mean])),
    r".mean was float32\[3\] and is float32\[6\]; give it back with the shape",
  ),
  "missing": (lambda state: (state.mean,), r".mean was float32\[3\] and is absent"),
  "more": (
    lambda state: {"mean": state.mean, "count": state.count},
    r".mean was float32.* and is absent",
  ),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("where", ["update", "consolidate"])
def test_a_method_that_changes_its_state_is_refused(kind, where):
  function, message = CHANGES[kind]
  refused(
    rf"^method lab_pull: {where} changes the state: {message}", method=own(**{where: function})
  )


def test_the_member_of_a_chain_is_named():
  method = chain(own(), own(CHANGES["dtype"][0], name="lab_push"), lift(SGD)._replace(name="sgd"))
  refused(
    r"^method lab_pull\+lab_push\+sgd: update changes the state of lab_push: .mean was",
    method=method,
  )


def test_a_method_that_changes_the_variables_is_refused():
  def end(state, variables, *, at):
    del at
    return state, {**variables, "params": jax.tree.map(lambda p: p[None], variables["params"])}

  refused(
    r"^method lab_pull: consolidate changes the variables: \['params'\]\['head'\]\['bias'\] was "
    r"float32\[4\] and is float32\[1,4\]",
    method=own()._replace(consolidate=end),
  )


def test_an_optax_transformation_is_checked_as_well():
  def update(updates, state, params=None):
    del params
    return updates, state.astype(jnp.float16)

  odd = optax.GradientTransformation(lambda params: jnp.zeros(()), update)
  refused(
    r"^the method: update changes the state: it was float32\[\] and is float16\[\]", method=odd
  )


@pytest.mark.parametrize(
  ("method", "message"),
  [
    (
      own(lambda state: state._replace(mean=state.mean + jnp.ones(4))),
      r"^method lab_pull: update: TypeError: .*broadcast.* \(.*test_checks.py, line \d+\)$",
    ),
    (
      own()._replace(init=lambda params: int("x")),
      r"^method lab_pull: invalid literal for int",
    ),
    (own(lambda state: state.meen), None),
    (
      own(phases=()),
      "a method has at least one phase",
    ),
    (
      own()._replace(predict=lambda served, *, at: jnp.zeros((2, 2))),
      r"^method lab_pull: predict: ValueError: predict gives \(2, 2\), and must give logits",
    ),
    (
      own()._replace(
        rehearsal=lambda state: helpers.batch(SPEC, 0)._replace(image=jnp.zeros((6, 2)))
      ),
      r"^method lab_pull: rehearsal gives .image as float32\[6,2\], and must give uint8\[6,4,4,1\]",
    ),
    (own(requires=frozenset({"routing"})), r"lab_pull requires 'routing' of the model"),
  ],
)
def test_faults_of_a_method_are_told_with_its_name(method, message):
  if message is None:  # a slip of the author: the traceback says more than a line
    with pytest.raises(AttributeError, match="meen"):
      run(Own(), MLP(4), method, progress=False)
  else:
    refused(message, method=method)


def test_ours_are_not_tried_again(monkeypatch):
  monkeypatch.setattr(assemble, "check_method", refuse)
  from tagjax.methods import ewc
  from tagjax.methods.naive import sgd

  trials = [fit.Trial(1)]
  assemble.assemble(Own(), MLP(4), chain(ewc(1.0), sgd(0.1)), trials, RunOptions())
  with pytest.raises(AssertionError):
    assemble.assemble(Own(), Outputs(4), chain(ewc(1.0), sgd(0.1)), trials, RunOptions())
  with pytest.raises(AssertionError):
    assemble.assemble(Own(), MLP(4), chain(own(), sgd(0.1)), trials, RunOptions())


@pytest.mark.parametrize("where", ["update", "consolidate"])
def test_a_method_that_returns_nan_ends_the_run_with_its_name(where):
  """Values are known when it runs; the first loss that shows it ends the run."""

  def update(updates, state, params, *, at):
    del params, at
    return jax.tree.map(lambda u: u * jnp.nan if where == "update" else -0.1 * u, updates), state

  def consolidate(state, variables, *, at):
    del at
    factor = jnp.nan if where == "consolidate" else 1.0
    return state, {**variables, "params": jax.tree.map(lambda p: p * factor, variables["params"])}

  with pytest.raises(DivergedError, match=r"the loss is nan in seed 1, task 0, step \d") as error:
    run(Own(), MLP(4), own()._replace(update=update, consolidate=consolidate), progress=False)
  assert "\n" not in str(error.value)
  assert "lab_pull" in str(error.value)


def test_a_stream_of_arrays_has_checked_its_labels_itself():
  image, label = np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 0, 5])
  with pytest.raises(ValueError, match="label 5"):
    Stream.from_arrays("mine", [(image, label, image, label)], num_outputs=3)
  assert isinstance(SPEC, StreamSpec)


@pytest.mark.parametrize(
  ("options", "sizes", "message"),
  [
    ({"continuum": 4}, (3, 5), r"^continuum=4: a run of 4 .*task 0 has 3 test .* at most 3$"),
    (
      {"continuum": 2, "continuum_lengths": (1, 6)},
      (9, 5),
      r"^continuum_lengths=\(1, 6\): .*task 1 has 5 test examples: choose at most 5$",
    ),
    (
      {"continuum_lengths": (64, 81)},
      (9000, 9000),
      r"^continuum_lengths=\(64, 81\): .* 5184 .* common multiple, or raise eval_batch_size=256$",
    ),
    (
      {"confusion_matrix": True},
      (3, 5),
      r"^confusion_matrix=True: 1001 outputs would make 1002001",
    ),
  ],
)
def test_what_evaluations_cannot_measure(options, sizes, message):
  spec = helpers.spec(num_tasks=2)
  if "confusion_matrix" in options:
    spec = spec._replace(num_outputs=1001)
  stream = Own(spec=spec, sizes=[(5, 0, size) for size in sizes])
  with pytest.raises(ConfigError, match=message) as error:
    check_stream(stream, RunOptions(**options))
  assert "\n" not in str(error.value)


def test_a_pass_over_the_whole_task_needs_no_common_multiple():
  stream = Own(sizes=[(5, 0, 1000)] * 2)
  check_stream(stream, RunOptions(continuum_lengths=(64, 81)))


def test_a_method_is_asked_about_every_length():
  def predict(served, *, at):
    logits, _ = at.apply_fn(served, at.batch)
    return logits[: at.continuum] if at.continuum == 3 else logits

  method = lift(SGD)._replace(predict=predict, name="mine")
  refused(r"^method mine: predict: .*\(3, 4\)", method=method, continuum_lengths=(1, 3))
