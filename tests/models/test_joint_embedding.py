"""The joint embedding: logits against NumPy, what it holds, and what it refuses."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from tagjax.core.types import StreamSpec
from tagjax.models import MLP, JointEmbedding, ResNet18, joint_embedding
from tagjax.models.joint_embedding import shuffled

ROWS = np.array([[3.0, 4, 0], [1, 0, 0], [0, 0, 0], [0, 2, 2]], np.float32)
SPEC = StreamSpec(2, 4, np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool), "task", (4, 4, 1))
SPEC = SPEC._replace(attributes=ROWS)


def test_logits_are_features_times_embedded_unit_rows():
  model = joint_embedding(MLP(4, hidden=(5,)), spec=SPEC)
  image = networks.images(4, channels=1)
  start = networks.initialised(model, 4, 4, 1)
  assert {*start["params"]} == {"features", "embedding", "bias"}
  assert {*start["params"]["features"]} == {"hidden0"}  # no head
  np.testing.assert_array_equal(start["params"]["bias"], np.full(4, np.float32(0.1)))
  embedding = np.asarray(start["params"]["embedding"])
  assert embedding.shape == (3, 5)
  assert 0.05 < embedding.std() < 0.12
  assert abs(embedding).max() <= 0.2
  params = networks.randomised(model, 4, 4, 1)["params"]
  variables = {**start, "params": params}
  logits, changed = networks.apply(model, variables, image)
  assert not changed
  hidden = networks.relu(networks.dense(image.reshape(3, -1), params["features"]["hidden0"]))
  unit = ROWS / np.array([[5], [1], [1], [np.sqrt(8)]], np.float32)
  expected = hidden @ (unit @ params["embedding"]).T + params["bias"]
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
  options = {"train": False, "features": True, **networks.call(image)}
  np.testing.assert_allclose(model.apply(variables, image, **options), hidden, rtol=1e-5, atol=1e-6)


def test_the_statistics_of_the_features_move_and_devices_reach_them():
  model = joint_embedding(ResNet18(4, width=2, stem="cifar", blocks=(1,)), spec=SPEC)
  assert model.clone(axis_name="devices").features.axis_name == "devices"
  image = networks.images(8)
  variables = networks.randomised(model, 8, 8, 3)
  call = {"train": True, **networks.call(image)}
  shapes = jax.eval_shape(
    lambda variables: model.apply(variables, image, mutable=["batch_stats", "attributes"], **call),
    variables,
  )
  assert {*shapes[1]} == {"batch_stats", "attributes"}


class Plain(nn.Module):
  """A network of a user's own, which wants nothing but images."""

  @nn.compact
  def __call__(self, image, *, features=False):
    return nn.Dense(3)(image.reshape(len(image), -1))


def test_a_network_gets_only_what_its_call_names():
  model = joint_embedding(Plain(), spec=SPEC)
  image = networks.images(4, channels=1)
  assert networks.shapes(model, 4, 4, 1)[0].shape == (1, 4)
  assert model.init(jax.random.key(0), image, train=False, **networks.call(image))


def test_shuffled_rows_are_the_same_rows_of_other_classes():
  rows = np.concatenate([np.eye(6), np.zeros((1, 6)), np.eye(6)])  # the classes come again
  other = shuffled(rows, seed=3)
  np.testing.assert_array_equal(other[:6], other[7:])
  np.testing.assert_array_equal(other[6], np.zeros(6))
  np.testing.assert_array_equal(other[:6].sum(axis=0), np.ones(6))
  assert (other[:6] != rows[:6]).any(axis=1).sum() >= 4
  assert (shuffled(rows, seed=4) != other).any()
  model = JointEmbedding(MLP(13, hidden=(5,)), rows, shuffle_attributes=3)
  found = networks.initialised(model, 4, 4, 1)["attributes"]["rows"]
  np.testing.assert_allclose(found, other, rtol=1e-6)


def test_weights_from_a_file_leave_the_embedding_out():
  model = joint_embedding(ResNet18(4, width=2), spec=SPEC)
  names = model.torch_names()
  assert names["features/stem"] == "conv1"
  assert names[""] is None
  with pytest.raises(ValueError, match="MLP takes no weights from a file"):
    joint_embedding(MLP(4), spec=SPEC).torch_names()


class Headless(nn.Module):
  @nn.compact
  def __call__(self, image):
    return nn.Dense(3)(image)


@pytest.mark.parametrize(
  ("features", "changes", "words"),
  [
    (MLP(4), {"attributes": None}, "the stream has none: choose one that has"),
    (MLP(4), {"attributes": None, "scenario": "domain"}, "its outputs stand for several classes"),
    (MLP(4), {"attributes": ROWS * [[1], [0], [1], [1]]}, "those of output 1 are missing or all"),
    (MLP(4), {"attributes": ROWS * [[1], [1], [1], [np.nan]]}, "attributes hold NaN"),
    (MLP, {}, "features must be a Flax Linen module, got"),
    ("mlp", {}, "features must be a Flax Linen module, got str"),
    (Headless(), {}, "argument 'features'; Headless has none"),
    (JointEmbedding(MLP(4), ROWS), {}, "features must be a network of features"),
  ],
)
def test_what_cannot_be_embedded_is_refused(features, changes, words):
  with pytest.raises(ValueError, match=words):
    joint_embedding(features, spec=SPEC._replace(**changes))


def test_features_of_another_rank_are_refused():
  class Maps(nn.Module):
    @nn.compact
    def __call__(self, image, *, features=False):
      return nn.Dense(3)(image)

  model = joint_embedding(Maps(), spec=SPEC)
  with pytest.raises(ValueError, match=r"features are \(1, 4, 4, 3\), must be \[B, d\]"):
    networks.shapes(model, 4, 4, 1)
  with pytest.raises(ValueError, match=r"attributes are \(3,\), must be \[K, a\]"):
    JointEmbedding(MLP(4), jnp.ones(3))
