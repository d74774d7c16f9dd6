"""PackNet: what is pruned, what moves, and what an earlier task computes."""

import functools

import flax.linen as nn
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.methods import packnet
from tagjax.methods.packnet import kept_weights

STREAM = helpers.spec()
MODEL = helpers.TinyModel(STREAM.num_outputs)
HEAD = "Dense_1/*"
# Momentum and weight decay would move what is frozen.
OPTIMIZER = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))


def method(**options):
  return packnet(STREAM, OPTIMIZER, head=HEAD, **options)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 0.99])
def test_the_smallest_of_the_candidates_are_pruned(share):
  rng = np.random.default_rng(0)
  value = rng.integers(-4, 5, (6, 5)).astype(np.float32)  # many of the same magnitude
  candidates = rng.random((6, 5)) < 0.7
  kept = np.asarray(kept_weights(jnp.asarray(value), jnp.asarray(candidates), share))
  number = round(share * candidates.sum())
  assert (candidates & ~kept).sum() == number
  assert not (kept & ~candidates).any()
  gone = np.abs(value[candidates & ~kept])
  assert gone.max(initial=0) <= np.abs(value[kept]).min(initial=9)


@functools.cache
def run():
  return helpers.programs(STREAM, method(), batch_norm=True)


def after(tasks):
  return helpers.train_stream(run(), STREAM, jax.random.key(0), size=12, tasks=tasks)


@functools.cache
def stages():
  return [after(range(number)) for number in (1, 2, 3)]


def kernel(state):
  return np.asarray(state.variables["params"]["Dense_0"]["kernel"])


def owner(state):
  return np.asarray(state.method.owner["Dense_0/kernel"])


def test_all_tasks_get_as_many_weights_and_keep_them():
  last = owner(stages()[-1])
  counts = np.bincount(last.ravel(), minlength=4)
  assert counts[3] == 0
  assert counts[:3].max() - counts[:3].min() <= 1
  for task, state in enumerate(stages()):
    # What is free is 0, what was packed before is what it was.
    assert (kernel(state)[owner(state) == 3] == 0).all()
    np.testing.assert_array_equal(owner(state)[last <= task], last[last <= task])
    own = last <= task
    np.testing.assert_array_equal(kernel(state)[own], kernel(stages()[-1])[own])
    figures = run().single.spec.num_tasks, method().outcome(state.method, jnp.int32(task))
    assert float(figures[1]["share_packed"]) == pytest.approx((task + 1) / 3, abs=0.01)


def test_biases_normalisation_and_running_averages_move_in_the_first_task_alone():
  first, *_, last = (state.variables for state in stages())
  fresh = run().init(jax.random.key(0)[None]).variables
  for name, leaf in (("Dense_0", "bias"), ("BatchNorm_0", "scale"), ("BatchNorm_0", "bias")):
    one, two, three = (np.asarray(v["params"][name][leaf]) for v in (fresh, first, last))
    assert (one != two).any()
    np.testing.assert_array_equal(two, three)
  for one, two in zip(*(jax.tree.leaves(v["batch_stats"]) for v in (first, last)), strict=True):
    np.testing.assert_array_equal(one, two)


def test_of_the_head_each_task_moves_its_own_outputs():
  heads = [np.asarray(state.variables["params"]["Dense_1"]["kernel"]) for state in stages()]
  for task in (1, 2):
    moved = (heads[task] != heads[task - 1]).any(axis=0)
    assert moved.tolist() == list(STREAM.classes[task])


def test_earlier_tasks_compute_the_same_bits_and_need_their_own_weights():
  one, *_, three = stages()
  figures = [
    helpers.evaluate(run(), state, STREAM, 0, current) for state, current in ((one, 0), (three, 2))
  ]
  np.testing.assert_array_equal(figures[0].loss, figures[1].loss)
  served = run().prepare(three, 2).served
  others = np.where(owner(three) == 0, kernel(three), 5.0).astype(np.float32)
  params = served.variables["params"]
  changed = {**params, "Dense_0": {**params["Dense_0"], "kernel": jnp.asarray(others)}}
  garbled = three._replace(variables={**three.variables, "params": changed})
  figures.append(helpers.evaluate(run(), garbled, STREAM, 0, 2))
  np.testing.assert_array_equal(figures[0].loss, figures[2].loss)


def test_a_task_that_comes_again_trains_its_own_weights():
  two, again = stages()[1], after([0, 1, 0])
  np.testing.assert_array_equal(owner(two), owner(again))
  moved = kernel(two) != kernel(again)
  assert moved[owner(two) == 0].any()
  assert not moved[owner(two) != 0].any()


class WithVariable(nn.Module):
  """A network with dropout, and a variable that is no running average."""

  moves: bool | None

  @nn.compact
  def __call__(self, image, *, task_id, mask, train):
    if self.moves is not None:
      scale = self.variable("own", "scale", jnp.ones, ())
      image = image * scale.value
      if self.moves and train:
        scale.value = 0.9 * scale.value
    tiny = helpers.TinyModel(STREAM.num_outputs, dropout=0.5, name="tiny")
    return tiny(image, task_id=task_id, mask=mask, train=train)


def trained_with(moves):
  method = packnet(STREAM, OPTIMIZER, head="tiny/Dense_1/*")
  run = helpers.programs(STREAM, method, model=WithVariable(moves))
  state = helpers.train_stream(run, STREAM, jax.random.key(0), size=8, tasks=[0, 1])
  return helpers.readable(state.variables["params"])


def test_other_variables_are_no_running_averages():
  """They leave dropout on: the same bits as without them."""
  for one, two in zip(trained_with(False), trained_with(None), strict=True):
    np.testing.assert_array_equal(one, two)


def test_other_variables_that_training_changes_are_refused():
  with pytest.raises(ValueError, match=r"running averages in 'batch_stats' alone, and .* 'own' as"):
    trained_with(True)


@pytest.mark.parametrize(
  ("make", "text"),
  [
    (lambda: method(prune=1.0), r"prune must be a number in \[0, 1\), got 1.0"),
    (lambda: method(retrain_epochs=0), "retrain_epochs must be an integer of at least 1"),
    (
      lambda: packnet(STREAM, OPTIMIZER).init({"out": {"kernel": jnp.zeros((2, 6))}}),
      "head='head/.' matches no parameter; there are: out/kernel",
    ),
    (
      lambda: packnet(STREAM, OPTIMIZER).init({"head": {"kernel": jnp.zeros((2, 5))}}),
      "matches head/kernel of shape .2, 5., whose last axis must be the 6 outputs",
    ),
    (
      lambda: packnet(STREAM, OPTIMIZER).init({"head": {"kernel": jnp.zeros((2, 6))}}),
      "packnet finds no kernel to prune besides the head",
    ),
  ],
)
def test_what_cannot_be_packed_is_refused_in_a_line(make, text):
  with pytest.raises(ValueError, match=text):
    make()
