import pytest

from tagjax import datasets
from tagjax.datasets.builders import fashion_mnist, mnist


@pytest.mark.parametrize("builder", [mnist.Mnist, fashion_mnist.FashionMnist])
def test_prepares_the_four_official_files(
  builder, offer, idx_files, random_examples, same_examples, data_dir
):
  train = random_examples(1, 40, (28, 28), 10)
  test = random_examples(2, 20, (28, 28), 10)
  offer(builder, idx_files(train, test))
  loaded = datasets.load(builder.name)
  same_examples(loaded.train, *train)
  same_examples(loaded.test, *test)
  assert loaded.train.image.shape == (40, 28, 28, 1)
  assert (loaded.name, loaded.version, loaded.max_value) == (builder.name, "3.0.1", 255)
  assert (data_dir / builder.name / "3.0.1" / "features.json").is_file()


def test_the_two_sets_of_the_same_file_names_are_kept_apart(
  offer, idx_files, random_examples, same_examples
):
  digits = random_examples(1, 20, (28, 28), 10)
  clothes = random_examples(2, 20, (28, 28), 10)
  offer(mnist.Mnist, idx_files(digits, digits))
  offer(fashion_mnist.FashionMnist, idx_files(clothes, clothes))
  same_examples(datasets.load("fashion_mnist").train, *clothes)
  same_examples(datasets.load("mnist").train, *digits)


def test_files_that_pass_the_checksum_but_not_the_reader_are_reported(
  offer, idx_files, random_examples
):
  image, label = random_examples(1, 20, (28, 28), 10)
  offer(mnist.Mnist, idx_files((image, label[:-1]), (image, label)))
  with pytest.raises(datasets.DatasetUnavailableError, match="do not belong together"):
    datasets.load("mnist")


def test_images_of_another_size_are_not_stretched(offer, idx_files, random_examples):
  tiny = random_examples(1, 20, (1, 1), 10)
  offer(mnist.Mnist, idx_files(tiny, tiny))
  with pytest.raises(datasets.DatasetUnavailableError, match=r"has shape \(1, 1, 1\)"):
    datasets.load("mnist")


def test_clothes_have_names(offer, idx_files, random_examples):
  train = random_examples(1, 20, (28, 28), 10)
  offer(fashion_mnist.FashionMnist, idx_files(train, train))
  names = datasets.load("fashion_mnist").class_names
  assert (len(names), names[0], names[9]) == (10, "T-shirt/top", "Ankle boot")
