"""What tells a run of objects from another one: JSON values of what can be seen of them."""

import functools
import json

import flax.linen as nn
import numpy as np
import optax
import pytest
from flax import nnx

from tagjax.benchmarks import load_benchmark
from tagjax.core.chain import chain
from tagjax.input_pipeline.augmentation import Augmentation
from tagjax.methods import er, ewc
from tagjax.models import MLP, JointEmbedding
from tagjax.training.identity import describe_run
from tagjax.training.options import RunOptions

STREAM = load_benchmark("split_digits", num_tasks=2)


def describe(model=None, method=None, hyper=None, **options):
  model = MLP(10) if model is None else model
  return describe_run(STREAM, model, method or optax.sgd(0.1), RunOptions(**options), hyper)


class Net(nn.Module):
  """A network of one's own, with a field that is no plain value."""

  num_outputs: int
  widths: tuple[int, ...] = (3, 4)
  activation: object = nn.relu


class Rows(nnx.Module):
  """A network of one's own that NNX makes."""

  def __init__(self, num_outputs: int, width: int = 2, *, rngs: nnx.Rngs):
    """Nothing is needed here."""


def test_it_is_json_and_names_everything():
  found = describe(hyper={"lr": 0.5}, seeds=3, augmentation=Augmentation(crop=2))
  assert json.loads(json.dumps(found)) == found
  assert (found["benchmark"], found["scenario"], found["num_tasks"]) == ("split_digits", "task", 2)
  assert (found["model"], found["mlp"]["hidden"]) == ("mlp", [256, 256])
  assert (found["seeds"], found["augmentation"]["crop"], found["lr"]) == (3, 2, 0.5)


def test_a_method_tells_its_members_and_their_settings():
  method = chain(ewc(3.0), er(capacity=2, spec=STREAM.spec), optax.sgd(0.1))
  found = describe(method=method)
  assert found["method"] == "ewc+er"
  assert found["ewc"]["strength"] == 3.0
  assert found["er"]["capacity"] == 2
  assert describe(method=ewc(3.0))["ewc"]["variant"] == "fixed"


def test_a_model_tells_the_model_that_it_holds():
  held = describe(JointEmbedding(MLP(4, hidden=(3,)), np.eye(4), shuffle_attributes=1))
  assert held["model"] == "JointEmbedding"
  assert held["JointEmbedding"] == {"features": "mlp", "shuffle_attributes": 1, "axis_name": None}
  assert held["mlp"]["hidden"] == [3]


def test_models_of_ones_own_tell_their_plain_fields():
  assert describe(Net(10))["Net"] == {"num_outputs": 10, "widths": [3, 4]}
  partial = functools.partial(Rows, 10, width=7)
  assert describe(partial)["model"] == "Rows"
  assert describe(partial)["Rows"] == {"width": 7}
  assert describe(Rows)["model"] == "Rows"


@pytest.mark.parametrize(
  "changes",
  [
    {"seeds": 2},
    {"model": MLP(10, hidden=(3,))},
    {"method": ewc(2.0)},
    {"method": lambda h: optax.sgd(h["lr"]), "hyper": {"lr": 0.1}},
    {"augmentation": Augmentation(flip=True)},
  ],
  ids=lambda changes: "+".join(changes),
)
def test_what_can_be_seen_makes_another_run(changes):
  assert describe(**changes) != describe()


def test_functions_have_their_name():
  def my_method(hyper):
    return optax.sgd(hyper["lr"])

  assert describe(method=my_method)["method"] == "my_method"
