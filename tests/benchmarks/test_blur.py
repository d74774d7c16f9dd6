"""Blurry tasks: every example is shown once, the sizes stay, and the loss stays finite."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.benchmarks import blur, load_benchmark
from tagjax.core import losses

from .conftest import row_numbers


@given(
  sizes=st.lists(st.integers(10, 40), min_size=3, max_size=6),
  fraction=st.floats(0.1, 0.6),
  seed=st.integers(0, 2**32),
)
def test_every_example_is_shown_once_and_sizes_stay(sizes, fraction, seed):
  counts = np.floor(fraction * np.array(sizes) + 0.5)
  if 2 * counts.max() > counts.sum():
    with pytest.raises(ValueError, match="choose tasks of more even sizes"):
      blur.exchange(sizes, range(len(sizes)), blur.Blur(fraction, seed))
    return
  shares = blur.exchange(sizes, range(len(sizes)), blur.Blur(fraction, seed))
  shown = []
  for place, place_shares in enumerate(shares):
    assert sum(len(share.chosen) for share in place_shares) == sizes[place]
    assert [share.home for share in place_shares].count(place) == 1
    own = next(share for share in place_shares if share.home == place)
    assert len(own.chosen) == sizes[place] - counts[place]
    shown += [(share.home, example) for share in place_shares for example in share.chosen]
  assert len(set(shown)) == len(shown) == sum(sizes)


def test_guests_come_from_all_other_tasks_evenly():
  shares = blur.exchange([4000] * 5, range(5), blur.Blur(0.5))
  for place, place_shares in enumerate(shares):
    guests = {share.home: len(share.chosen) for share in place_shares if share.home != place}
    assert len(guests) == 4
    # 500 of each, standard deviation about 20.
    assert all(abs(count - 500) < 100 for count in guests.values())


def test_a_task_that_comes_twice_exchanges_nothing_with_itself():
  shares = blur.exchange([30] * 4, [0, 1, 0, 2], blur.Blur(0.3))
  homes = [{share.home for share in place_shares} for place_shares in shares]
  assert 2 not in homes[0]
  assert 0 not in homes[2]


def test_what_cannot_be_exchanged():
  with pytest.raises(ValueError, match=r"blurry_fraction is 0.01, which is no example"):
    blur.exchange([10, 10], [0, 1], blur.Blur(0.01))
  with pytest.raises(ValueError, match=r"0.5, but task 1 has 10 examples .* others have 5"):
    blur.exchange([10, 20], [0, 1], blur.Blur(0.5))
  with pytest.raises(ValueError, match=r"task 7 has 10 .* others have 5"):
    blur.exchange([10, 10, 10], [7, 2, 7], blur.Blur(0.5))


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
def test_a_stream_shows_every_example_once(fake_load, dataset, scenario):
  options = {"scenario": scenario, "validation_fraction": 0.25}
  pure = load_benchmark("split_digits", **options)
  stream = load_benchmark("split_digits", blurry_fraction=0.4, **options)
  assert stream.sizes == pure.sizes
  both = [np.concatenate([row_numbers(e.train) for e in s]) for s in (pure, stream)]
  np.testing.assert_array_equal(*map(np.sort, both))
  for one, other in zip(pure, stream, strict=True):
    own = np.isin(row_numbers(other.train), row_numbers(one.train))
    assert len(own) - own.sum() == np.floor(0.4 * len(own) + 0.5)
    for part in ("validation", "test"):
      np.testing.assert_array_equal(getattr(other, part).image, getattr(one, part).image)
      np.testing.assert_array_equal(getattr(other, part).label, getattr(one, part).label)


@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("name", ["split_digits", "permuted_digits", "split_awa2"])
def test_labels_compete_where_they_are_shown(fake_load, name, scenario):
  stream = load_benchmark(
    name, num_tasks=5, scenario=scenario, blurry_fraction=0.4, task_order="0, 1, 0, 4, 2, 3"
  )
  for experience in stream:
    train = experience.train
    active = np.ones((len(train), stream.spec.num_outputs), bool)
    if scenario == "task":
      active = stream.spec.classes[train.task_id]
    elif scenario == "class":
      active[:] = stream.spec.classes[: experience.task_id + 1].any(axis=0)
    assert active[np.arange(len(train)), train.label].all()


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_the_loss_stays_finite(fake_load, scenario):
  stream = load_benchmark("split_digits", scenario=scenario, blurry_fraction=0.4)
  logits = jnp.zeros((24, 10))
  for experience in stream:
    train = experience.train
    active = losses.active_outputs(stream.spec, jnp.asarray(train.task_id), experience.task_id)
    values = losses.cross_entropy(logits, jnp.asarray(train.label), active)
    assert float(values.max()) <= np.log(10) + 1e-6


def test_in_task_incremental_streams_guests_keep_their_task_and_outputs(fake_load):
  pure = load_benchmark("split_digits")
  stream = load_benchmark("split_digits", blurry_fraction=0.5)
  np.testing.assert_array_equal(stream.spec.classes, pure.spec.classes)
  for experience in stream:
    np.testing.assert_array_equal(experience.train.task_id, experience.train.label // 2)
    assert set(experience.test.label // 2) == {experience.task_id}
  assert set(stream[0].train.task_id) > {0}


def test_in_class_incremental_streams_guests_count_to_the_task_that_shows_them(fake_load):
  stream = load_benchmark("split_digits", scenario="class", blurry_fraction=0.5)
  for experience in stream:
    assert set(experience.train.task_id) == {experience.task_id}
    shown = np.flatnonzero(stream.spec.classes[experience.task_id])
    own = {2 * experience.task_id, 2 * experience.task_id + 1}
    assert set(shown) == set(experience.train.label) | own
    assert len(shown) > 2


def test_guests_look_as_in_their_own_task(fake_load):
  pure = load_benchmark("permuted_digits", num_tasks=3)
  stream = load_benchmark("permuted_digits", num_tasks=3, blurry_fraction=0.5)
  known = [{image.tobytes() for image in experience.train.image} for experience in pure]
  for experience in stream:
    homes = [
      next(task for task, images in enumerate(known) if image.tobytes() in images)
      for image in experience.train.image
    ]
    assert np.bincount(homes, minlength=3)[experience.task_id] == 60


def test_wrong_labels_go_with_their_examples(fake_load):
  noisy = load_benchmark("split_digits", label_noise=0.3)
  stream = load_benchmark("split_digits", label_noise=0.3, blurry_fraction=0.4)
  taught = {}
  for experience in noisy:
    taught |= dict(zip(row_numbers(experience.train), experience.train.label, strict=True))
  for experience in stream:
    for row, label in zip(row_numbers(experience.train), experience.train.label, strict=True):
      assert taught[row] == label


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_a_part_shows_nothing_of_the_tasks_left_out(fake_load, scenario):
  part = load_benchmark("split_digits", scenario=scenario, blurry_fraction=0.4).part(2)
  assert part.sizes == [(24, 0, 10)] * 3
  for experience in part:
    assert (experience.train.label >= 4).all()
    assert set(experience.train.label // 2 - 2) == {0, 1, 2}
    assert part.spec.classes[experience.train.task_id, experience.train.label].all()
  assert not part.spec.classes[:, :4].any()


def test_no_blur_is_the_pure_stream(fake_load):
  stream = load_benchmark("split_digits", scenario="class", blurry_fraction=0.4)
  clear = stream.blurred(0.0)
  pure = load_benchmark("split_digits", scenario="class")
  np.testing.assert_array_equal(clear.spec.classes, pure.spec.classes)
  for one, other in zip(clear, pure, strict=True):
    np.testing.assert_array_equal(one.train.image, other.train.image)
  seeds = [pure.blurred(0.4, seed)[0].train.label.tolist() for seed in (1, 1, 2)]
  assert seeds[0] == seeds[1] != seeds[2]
