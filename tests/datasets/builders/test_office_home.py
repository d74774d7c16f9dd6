import numpy as np
import pytest
from picture_files import encoded, pixels, zipped

from tagjax import datasets
from tagjax.datasets import decode
from tagjax.datasets.builders import office_home

FOLDER = "OfficeHomeDataset_10072016"
DOMAINS = ("Art", "Clipart", "Product", "Real World")
THINGS = sorted(["Alarm_Clock", "TV", "Table", *(f"Thing_{number:02d}" for number in range(62))])
COUNT = 4 * 65 * 3


@pytest.fixture(scope="module")
def every_member():
  """The archive with three pictures of each thing in each domain, and other files."""
  found = {
    f"{FOLDER}/ImageInfo.csv": b"",
    f"__MACOSX/{FOLDER}/Art/TV/._00001.jpg": b"resource fork",
    f"{FOLDER}/Art/TV/Thumbs.db": b"",
  }
  names = [f"{domain}/{thing}" for domain in DOMAINS for thing in THINGS]
  for label, name in reversed(list(enumerate(names))):
    for number in range(3):
      found[f"{FOLDER}/{name}/{number + 1:05d}.jpg"] = encoded(pixels(3 * label + number))
  return found


@pytest.fixture
def members(every_member):
  return dict(every_member)


@pytest.fixture
def load(offer, shrink):
  def load(members):
    shrink("office_home", sizes=(COUNT - COUNT // 3, COUNT // 3))
    offer(office_home.OfficeHome, {"OfficeHomeDataset_10072016.zip": zipped(members)})
    return datasets.load("office_home")

  return load


def test_a_class_is_a_thing_in_a_domain(load, members, same_examples):
  loaded = load(members)
  assert np.bincount(loaded.train.label).tolist() == [2] * 260
  assert np.bincount(loaded.test.label).tolist() == [1] * 260
  names = loaded.class_names
  assert (names[0], names[65], names[3 * 65 + 1]) == (
    "Art/Alarm_Clock",
    "Clipart/Alarm_Clock",
    "RealWorld/TV",  # capitals come before small letters, so before the table
  )
  both = datasets.Examples(
    np.concatenate([loaded.train.image, loaded.test.image]),
    np.concatenate([loaded.train.label, loaded.test.label]),
  )
  for array in both:
    array.flags.writeable = False
  image = [decode.decode(encoded(pixels(seed)), 3, (128, 128), "stretch") for seed in range(COUNT)]
  same_examples(both, np.stack(image), np.arange(COUNT) // 3)


def test_an_unpacked_copy_may_write_the_domain_in_one_word(members, shrink, data_dir):
  shrink("office_home", sizes=(COUNT - COUNT // 3, COUNT // 3))
  manual = data_dir / "downloads" / "manual" / "office_home"
  for name, content in members.items():
    path = manual / name.replace("Real World", "RealWorld")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  loaded = datasets.load("office_home")
  assert loaded.class_names[259] == "RealWorld/Thing_61"
  assert np.bincount(loaded.train.label).tolist() == [2] * 260


@pytest.mark.parametrize(
  ("gone", "message"),
  [
    ("Product/TV/00002.jpg", "found 779, but the published set has 780"),
    ("Product/TV/", "the domain Product has no pictures of TV"),
    ("Clipart/", "the domain Clipart has no pictures of Alarm_Clock, TV"),
  ],
)
def test_a_copy_that_is_not_whole_is_refused(load, members, gone, message):
  some = {name: content for name, content in members.items() if f"{FOLDER}/{gone}" not in name}
  assert len(some) < len(members)
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    load(some)


def test_a_thing_too_few_is_refused(load, members):
  some = {name: content for name, content in members.items() if "/Table/" not in name}
  with pytest.raises(datasets.DatasetUnavailableError, match="things in each domain: found 64"):
    load(some)


def test_a_damaged_picture_is_named(load, members):
  name = f"{FOLDER}/Real World/TV/00002.jpg"
  members[name] = members[name][: len(members[name]) // 2]
  with pytest.raises(datasets.DatasetUnavailableError, match=f"{name} is damaged or no picture"):
    load(members)
