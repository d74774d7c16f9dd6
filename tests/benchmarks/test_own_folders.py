"""Streams of the user's own folders of images."""

import numpy as np
import pytest
from PIL import Image

from tagjax import datasets
from tagjax.benchmarks import load_benchmark


def write(path, colour, size=(8, 6)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, colour).save(path)


@pytest.fixture
def tasks(tmp_path, monkeypatch):
  """Two tasks: one with a test of its own, one without."""
  monkeypatch.setenv("TAGJAX_CACHE_DIR", str(tmp_path / "cache"))
  root = tmp_path / "tasks"
  for label, name in enumerate(("ant", "bee")):
    for number in range(3):
      write(root / "1 insects" / "train" / name / f"{number}.png", (10 * label, number, 0))
    write(root / "1 insects" / "test" / name / "last.png", (10 * label, 99, 0))
  for label, name in enumerate(("cat", "dog", "eel")):
    for number in range(5):
      write(root / "2 others" / name / f"{number}.png", (100 + 10 * label, number, 0))
  (root / ".hidden").mkdir()
  return root


def test_a_task_for_each_folder(tasks):
  stream = load_benchmark("image_folders", image_folders=tasks, image_size=4)
  assert stream.task_names == ["1 insects", "2 others"]
  assert stream.sizes == [(6, 0, 2), (12, 0, 3)]
  assert stream.spec.image_shape == (4, 4, 3)
  assert stream.class_names == [{0: "ant", 1: "bee"}, {2: "cat", 3: "dog", 4: "eel"}]
  for experience in stream:
    for part in (experience.train, experience.test):
      colour = np.where(part.label < 2, 10 * part.label, 80 + 10 * part.label)
      np.testing.assert_array_equal(part.image[:, 0, 0, 0], colour)
  assert set(stream[0].test.image[:, 0, 0, 1]) == {99}


def test_options_reach_the_folders(tasks):
  half = load_benchmark("image_folders", image_folders=str(tasks), test_fraction=0.6)
  assert half.spec.image_shape == (64, 64, 3)
  assert half.sizes[1] == (6, 0, 9)
  assert len(load_benchmark("image_folders", image_folders=tasks, num_tasks=1)) == 1
  seeds = [
    load_benchmark("image_folders", image_folders=tasks, image_size=1, data_seed=seed)[1]
    for seed in (0, 0, 1)
  ]
  tests = [task.test.image.tolist() for task in seeds]
  assert tests[0] == tests[1] != tests[2]


def test_large_folders_are_read_when_needed(tasks):
  whole, stream = (
    load_benchmark("image_folders", image_folders=tasks, image_size=5, input=input)
    for input in ("memory", "stream")
  )
  assert stream.is_streamed("train")
  assert not whole.is_streamed("train")
  for one, other in zip(whole, stream, strict=True):
    np.testing.assert_array_equal(one.train.image, other.train.image[np.arange(len(other.train))])


def test_shapes_are_stretched_or_cropped(tasks):
  wide = Image.new("RGB", (30, 10), (255, 0, 0))
  wide.paste((0, 0, 255), (10, 0, 20, 10))
  wide.save(tasks / "1 insects" / "test" / "ant" / "last.png")
  stretched, cropped = (
    load_benchmark("image_folders", image_folders=tasks, image_size=10, image_resize=how)[0].test
    for how in ("stretch", "crop")
  )
  assert (cropped.image[0, :, 1:-1] == (0, 0, 255)).all()
  np.testing.assert_array_equal(stretched.image[0, 5, [0, -1]], [[255, 0, 0]] * 2)


def test_the_object_sequence_takes_the_users_folders(tasks, tmp_path, fake_load):
  data_dir = tmp_path / "data"
  (data_dir / "image_folders").mkdir(parents=True)
  (data_dir / "image_folders" / "flowers102").symlink_to(tasks / "1 insects")
  (data_dir / "image_folders" / "mit_indoor67").symlink_to(tasks / "2 others")
  stream = load_benchmark("object_sequence", data_dir=data_dir, num_tasks=2, image_size=12)
  assert fake_load == [], "one's own folder goes first"
  assert stream.task_names == ["flowers102", "mit_indoor67"]
  assert stream.spec.image_shape == (12, 12, 3)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({}, "image_folders is None: name the folder"),
    ({"image_folders": ""}, "image_folders is ''"),
    ({"image_size": 0}, "image_size is 0, must be"),
    ({"image_resize": "pad"}, "image_resize='pad' is unknown"),
    ({"test_fraction": 0}, "test_fraction is 0"),
    ({"test_fraction": 1.0}, "test_fraction is 1.0"),
    ({"num_tasks": 3}, "in which there are 2 folders, 3 wanted"),
  ],
)
def test_bad_options(tasks, options, words):
  options = {"image_folders": tasks, **options} if options else {}
  with pytest.raises(ValueError, match=words):
    load_benchmark("image_folders", **options)


def test_folders_that_are_not_there(tmp_path):
  with pytest.raises(datasets.DatasetUnavailableError, match=r"cannot read .*nowhere: No such"):
    load_benchmark("image_folders", image_folders=tmp_path / "nowhere")
  with pytest.raises(ValueError, match=r"in which there are 0 folders, at least 1 wanted"):
    load_benchmark("image_folders", image_folders=tmp_path)


def test_a_table_beside_the_folders_describes_the_classes(tasks):
  path = tasks / "attributes.csv"
  path.write_text(
    "class,legs,wings\n dog , 4, 0\ncat,4,0\n\nbee,6,4\nant,6,0\neel,0,-1.5\nowl,2,2\n"
  )
  stream = load_benchmark("image_folders", image_folders=tasks, image_size=4)
  expected = [[6, 0], [6, 4], [4, 0], [4, 0], [0, -1.5]]
  np.testing.assert_array_equal(stream.spec.attributes, expected)
  assert stream.spec.attributes.dtype == np.float32
  shared = load_benchmark("image_folders", image_folders=tasks, image_size=4, scenario="domain")
  assert shared.spec.attributes is None


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", "must begin with a line 'class,NAME,...'"),
    ("class\nant\n", "must begin with a line"),
    ("class,legs\nant,6\nbee,6\ncat,4\n", "has no line of class 'dog' and of 1 more: add it"),
    ("class,legs\nant,6\nbee,6,7\n", "attributes.csv, line 3: 2 attributes, the heading has 1"),
    ("class,legs\nant,six\n", "line 2: could not convert string to float: 'six'"),
    ("class,legs,wings\nant,nan,0\n", "line 2: attributes must be finite, got nan, 0"),
    ("class,legs\nant,1e39\n", "line 2: attributes must be finite, got 1e39"),
    ("class,legs\nant,6\nant,6\n", "line 3: class 'ant' comes twice"),
    ("class,legs\n\xff\n", "cannot read the attributes in"),
  ],
)
def test_tables_that_describe_nothing(tasks, text, words):
  (tasks / "attributes.csv").write_text(text, encoding="latin-1")
  with pytest.raises(datasets.DatasetUnavailableError, match=words):
    load_benchmark("image_folders", image_folders=tasks, image_size=1)
