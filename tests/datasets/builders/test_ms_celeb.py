import collections
import itertools

import numpy as np
import pytest
from picture_files import encoded, pixels, zipped

from tagjax import datasets
from tagjax.datasets.builders import ms_celeb

NUM_PEOPLE = 4


@pytest.fixture(scope="module")
def every_member():
  """Seven people: two have 45 photographs, the others 46 or more; each one-coloured by person."""
  found = {"ms_celeb/README": b"", "ms_celeb/m.01/notes.txt": b""}
  for person, count in enumerate([46, 45, 50, 46, 45, 46, 47]):
    for number in range(count):
      array = np.full((112, 112, 3), (20 * person, number, 7), np.uint8)
      found[f"ms_celeb/m.{person:02d}/{number}.PNG"] = encoded(array)
  return found


@pytest.fixture
def members(every_member):
  return dict(every_member)


@pytest.fixture
def load(offer, shrink, data_dir):
  def load(members, root=data_dir, num_people=NUM_PEOPLE):
    shrink("ms_celeb", num_classes=num_people, sizes=(30 * num_people, 15 * num_people))
    offer(ms_celeb.MsCeleb, {"ms_celeb.zip": zipped(members)}, root)
    return datasets.load("ms_celeb", root)

  return load


def _drawn(loaded) -> list[tuple[str, int, int, str]]:
  """Person, photograph, label and split of every example."""
  return sorted(
    (f"m.{image[0, 0, 0] // 20:02d}", int(image[0, 0, 1]), int(label), split)
    for split in ("train", "test")
    for image, label in zip(*getattr(loaded, split), strict=True)
  )


def test_draws_people_with_more_than_45_photographs(load, members):
  loaded = load(members)
  drawn = _drawn(loaded)
  people = sorted({person for person, *_ in drawn})
  assert loaded.class_names == tuple(people)
  assert len(people) == NUM_PEOPLE
  assert not {"m.01", "m.04"} & set(people)
  for label, person in enumerate(people):
    of_person = [row for row in drawn if row[0] == person]
    assert {row[2] for row in of_person} == {label}
    counts = collections.Counter(split for *_, split in of_person)
    assert counts == {"train": 30, "test": 15}
    assert len({number for _, number, *_ in of_person}) == 45


def test_the_draw_is_the_same_in_every_preparation(load, members, tmp_path):
  first = _drawn(load(members))
  backwards = dict(reversed(members.items()))
  assert _drawn(load(backwards, tmp_path / "again")) == first


def test_too_few_people_are_refused(load, members):
  with pytest.raises(
    datasets.DatasetUnavailableError, match="5 people have more than 45 photographs, but 6 are"
  ):
    load(members, num_people=6)


def test_a_damaged_photograph_is_named(load, members):
  for name in itertools.islice(members, 2, None):
    members[name] = encoded(pixels(0))[:60]
  with pytest.raises(datasets.DatasetUnavailableError, match=r"PNG is damaged or no picture"):
    load(members)
