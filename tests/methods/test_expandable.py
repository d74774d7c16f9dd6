"""The search, growth and splits, on networks of which every unit matters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.types import StreamSpec
from tagjax.core.units import UNBORN, layers
from tagjax.methods.expandable import (
  Stamps,
  drifts,
  grown,
  planned,
  reached,
  split_units,
  without_edges,
)
from tagjax.models import expandable_cnn
from tagjax.models.convolution import direct

SPEC = StreamSpec(3, 6, np.eye(3, dtype=bool).repeat(2, axis=1), "task", (4, 4, 1))
CNN = expandable_cnn(SPEC, channels=(4, 5), kernels=(3, 3), pools=(1, 2), hidden=(6,)).clone(
  convolve=direct
)
WIDTHS = {"conv0": 4, "conv1": 5, "hidden0": 6}
IMAGE = np.random.default_rng(3).normal(size=(3, 4, 4, 1)).astype(np.float32)


def parameters(seed=0, zeros=0.0):
  rng = np.random.default_rng(seed)
  shapes = {"conv0": (3, 3, 1, 4), "conv1": (3, 3, 4, 5), "hidden0": (20, 6), "head": (6, 6)}

  def draw(*shape):
    value = rng.normal(size=shape) * (rng.random(shape[-2:]) >= zeros)
    return jnp.asarray(value, jnp.float32)

  return {name: {"kernel": draw(*shape), "bias": draw(shape[-1])} for name, shape in shapes.items()}


def units(seed, share=0.7):
  rng = np.random.default_rng(seed)
  return {name: jnp.asarray(rng.random(width) < share) for name, width in WIDTHS.items()}


@jax.jit
def logits(params, stamps, task):
  variables = {"params": params, "stamps": stamps._asdict()}
  rows = {"task_id": jnp.full(3, task), "mask": jnp.ones(3, bool), "train": False}
  return CNN.apply(variables, IMAGE, **rows)


def edges(params):
  """The pairs of units, with their layers' names, between which some weight is not 0."""
  found = set()
  for name, below, number in layers(params):
    kernel = np.asarray(params[name]["kernel"])
    for i, j in itertools.product(range(kernel.shape[-2]), range(number)):
      if below is not None and (kernel[..., i, j] != 0).any():
        found.add(((below, i % WIDTHS[below]), (name, j)))
  return found


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_the_search_finds_the_units_with_a_path_to_the_outputs(seed):
  params = parameters(seed, zeros=0.7)
  active, outputs = units(seed), np.arange(6) == 2
  found = reached(params, jnp.asarray(outputs), active)
  here = {(name, int(i)) for name in WIDTHS for i in np.flatnonzero(active[name])}
  queue, expected, known = [("head", 2)], set(), edges(params)
  while queue:  # one unit after another
    unit = queue.pop()
    new = {a for a, b in known if b == unit and a in here} - expected
    expected |= new
    queue += new
  assert {(name, int(i)) for name in found for i in np.flatnonzero(found[name])} == expected
  assert expected
  assert expected != here


@pytest.mark.parametrize("seed", range(3))
def test_units_that_nothing_leads_into_or_on_from_are_useless(seed):
  params = parameters(seed, zeros=0.85)
  params["conv1"]["kernel"] = params["conv1"]["kernel"].at[..., :2].set(0)
  active, outputs = units(seed, 0.9), np.arange(6) < 2
  fresh = active
  useless = without_edges(params, fresh, active, jnp.asarray(outputs))
  there = {(name, int(i)) for name in WIDTHS for i in np.flatnonzero(active[name])}
  kernels = {name: np.asarray(part["kernel"]) for name, part in params.items()}
  into = {
    (name, j)
    for name, below, number in layers(params)
    for j in range(number)
    for i in range(kernels[name].shape[-2])
    if (below is None or (below, i % WIDTHS[below]) in there)
    and (kernels[name][..., i, j] != 0).any()
  }
  removed, known = set(), edges(params)
  for name in reversed([*WIDTHS]):  # from the top down
    ends = {("head", int(k)) for k in np.flatnonzero(outputs)} | (there - removed)
    for i in np.flatnonzero(fresh[name]):
      leads_on = any(a == (name, i) and b in ends for a, b in known)
      if not leads_on or (name, i) not in into:
        removed.add((name, int(i)))
  assert {(name, int(i)) for name in useless for i in np.flatnonzero(useless[name])} == removed
  assert removed


def test_a_unit_has_moved_as_far_as_its_incoming_weights_and_bias():
  old, new, there = parameters(0), parameters(1), units(5)
  moved = drifts(new, old, there)
  old, new, there = (jax.tree.map(np.asarray, tree) for tree in (old, new, there))
  for name, below, number in list(layers(new))[:-1]:
    change = np.asarray(new[name]["kernel"], np.float64) - old[name]["kernel"]
    for j in range(number):
      total = (new[name]["bias"][j] - old[name]["bias"][j]) ** 2
      for i in range(change.shape[-2]):
        if below is None or there[below][i % WIDTHS[below]]:
          total += (change[..., i, j] ** 2).sum()
      np.testing.assert_allclose(moved[name][j], np.sqrt(total), rtol=1e-5)


def test_a_split_leaves_the_task_as_it_is_and_gives_the_one_before_its_units_back():
  """Where there is room for all that have moved."""
  anchor, params = parameters(0), parameters(1)
  born = {name: np.where(np.arange(n) < n // 2, 0, UNBORN) for name, n in WIDTHS.items()}
  born = {name: jnp.asarray(row, jnp.int32) for name, row in born.items()}
  until = {name: jnp.full(n, UNBORN) for name, n in WIDTHS.items()}
  stamps = Stamps(born, until)
  apart = {name: row == 0 for name, row in born.items()}
  plans = {
    name: planned(jnp.arange(float(n)), apart[name], stamps.reserve()[name])
    for name, n in WIDTHS.items()
  }
  assert all((plans[name].is_split == apart[name]).all() for name in apart)
  new = split_units(params, {n: anchor[n] for n in WIDTHS}, plans, apart, apart)
  after = Stamps(
    {name: jnp.where(plans[name].is_copy, 1, born[name]) for name in born},
    {name: jnp.where(plans[name].is_split, 1, until[name]) for name in until},
  )
  before = logits(params, stamps, 1)
  np.testing.assert_allclose(logits(new, after, 1), before, rtol=1e-4, atol=1e-4)
  was = logits({**anchor, "head": params["head"]}, stamps, 0)
  np.testing.assert_allclose(logits(new, after, 0), was, rtol=1e-4, atol=1e-4)
  assert np.abs(np.asarray(before) - was).max() > 0.1


def test_new_units_lead_into_no_old_one_yet():
  params, fresh = parameters(0), units(7, 0.4)
  active = {name: jnp.ones(n, bool) for name, n in WIDTHS.items()}
  new = jax.tree.map(np.asarray, grown(params, fresh, active, jax.random.key(0)))
  fresh = jax.tree.map(np.asarray, fresh)
  for name, below, number in list(layers(new))[:-1]:
    kernel, old = (np.asarray(tree[name]["kernel"]) for tree in (new, params))
    for i, j in itertools.product(range(kernel.shape[-2]), range(number)):
      if fresh[name][j]:
        bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
        assert (np.abs(kernel[..., i, j]) <= bound).all()
        assert (kernel[..., i, j] != 0).all()
      elif below is not None and fresh[below][i % WIDTHS[below]]:
        assert (kernel[..., i, j] == 0).all()
      else:
        np.testing.assert_array_equal(kernel[..., i, j], old[..., i, j])


def test_the_farthest_units_get_the_room_that_there_is():
  moved = jnp.array([0.3, 0.9, 0.5, 0.0, 0.0])
  plan = planned(moved, jnp.array([1, 1, 1, 0, 0], bool), jnp.array([0, 0, 0, 1, 1], bool))
  assert plan.source.tolist() == [0, 1, 2, 1, 2]
  assert plan.is_copy.tolist() == [False, False, False, True, True]
  assert plan.is_split.tolist() == [False, True, True, False, False]
