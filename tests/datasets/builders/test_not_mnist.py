import io

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.datasets.builders import not_mnist

NUM_IMAGES = 60
UNREADABLE = {"A/bm8gaW1hZ2U=.png": b"", "F/broken.png": b"no image"}


def _png(image) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "png")
  return buffer.getvalue()


@pytest.fixture
def examples(random_examples):
  """Names of files with their images; the letter is the label."""
  image, label = random_examples(1, NUM_IMAGES, (28, 28), 10)
  names = [f"{'ABCDEFGHIJ'[of]}/{number:02d}.png" for number, of in enumerate(label)]
  return dict(zip(names, image, strict=True))


@pytest.fixture
def offer_images(offer, tar_gz, monkeypatch):
  """Puts an archive of the given files in place, of as many images as the tests have."""

  def offer_images(files: dict[str, bytes]):
    (by_hand,) = not_mnist.NotMnist.BY_HAND
    monkeypatch.setattr(not_mnist.NotMnist, "BY_HAND", (by_hand._replace(size=None),))
    monkeypatch.setattr(not_mnist, "_NUM_IMAGES", NUM_IMAGES)
    members = {f"notMNIST_small/{name}": content for name, content in files.items()}
    return offer(not_mnist.NotMnist, {"notMNIST_small.tar.gz": tar_gz(members)})

  return offer_images


def _pngs(examples):
  return {name: _png(image) for name, image in examples.items()}


def test_a_tenth_tests_and_what_is_no_image_is_left_out(offer_images, examples, same_examples):
  offer_images(_pngs(examples) | UNREADABLE)
  loaded = datasets.load("not_mnist")
  assert (len(loaded.train.label), len(loaded.test.label)) == (54, 6)
  assert loaded.class_names == tuple("ABCDEFGHIJ")
  everything = type(loaded.train)(
    *(np.concatenate(arrays) for arrays in zip(loaded.train, loaded.test, strict=True))
  )
  for array in everything:
    array.flags.writeable = False
  label = ["ABCDEFGHIJ".index(name[0]) for name in examples]
  same_examples(everything, np.array(list(examples.values())), np.array(label))


def test_the_split_depends_on_the_names_alone(offer_images, examples, tmp_path):
  offer_images(_pngs(examples) | UNREADABLE)
  tests = {image.tobytes() for image in datasets.load("not_mnist").test.image}
  order = np.random.RandomState(0).permutation(NUM_IMAGES)[:6]
  expected = [examples[sorted(examples)[index]] for index in order]
  assert tests == {image.tobytes() for image in expected}


def test_the_order_of_the_archive_does_not_matter(offer_images, examples, data_dir):
  offer_images(_pngs(examples))
  first = datasets.load("not_mnist")
  (data_dir / "downloads").rename(data_dir / "former")
  (data_dir / "not_mnist").rename(data_dir / "former" / "not_mnist")
  offer_images(dict(reversed(_pngs(examples).items())))
  second = datasets.load("not_mnist")
  np.testing.assert_array_equal(first.train.image, second.train.image)
  np.testing.assert_array_equal(first.test.image, second.test.image)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda files: files | UNREADABLE | {"B/three.png": b"no"}, "60 images and 3 unreadable"),
    (lambda files: dict(list(files.items())[1:]), "59 images and 0 unreadable ones, where 60"),
    (lambda files: files | {"C/more.png": files[min(files)]}, "61 images"),
    (
      lambda files: files | {"C/wide.png": _png(np.zeros((28, 29), np.uint8))},
      r"C/wide\.png has shape \(28, 29, 1\)",
    ),
  ],
)
def test_another_archive_is_refused(offer_images, examples, change, message):
  offer_images(change(_pngs(examples)))
  with pytest.raises(datasets.DatasetUnavailableError, match=message):
    datasets.load("not_mnist")


def test_other_files_of_the_archive_are_passed_over(offer_images, examples):
  offer_images(_pngs(examples) | {"A/._00.png": b"resource fork", "readme.txt": b"letters"})
  assert len(datasets.load("not_mnist").test.label) == 6


def test_without_the_archive_it_is_said_where_to_fetch_it(offline, data_dir):
  with pytest.raises(datasets.DatasetUnavailableError) as error:
    datasets.load("not_mnist")
  for part in ("notMNIST_small.tar.gz", "8458043 bytes", "https://commondatastorage", "not_mnist"):
    assert part in str(error.value)
  assert str(data_dir / "downloads" / "manual" / "not_mnist") in str(error.value)


def test_the_known_size_is_checked(offer, tar_gz):
  offer(not_mnist.NotMnist, {"notMNIST_small.tar.gz": tar_gz({"a": b"x"})})
  with pytest.raises(datasets.DatasetUnavailableError, match="8458043"):
    datasets.load("not_mnist")
