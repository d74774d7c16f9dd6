"""Data sets for the tasks of a stream, from folders of images that the user has put in place."""

from collections.abc import Sequence

from tagjax import datasets
from tagjax.benchmarks import checks
from tagjax.core import paths
from tagjax.datasets import class_attributes, folders, image_folder


def load_tasks(
  path: folders.PathLike,
  *,
  num_tasks: int | None,
  image_size: int,
  image_resize: str,
  test_fraction: float,
  data_seed: int,
  input: str,
) -> list[datasets.Dataset]:
  """A data set for each folder in a folder, in the order of their names.

  Each of them holds `train/CLASS/FILE` and `test/CLASS/FILE`, or `CLASS/FILE`; see
  `tagjax.datasets.load_folder`. A file `attributes.csv` beside them describes their classes, see
  `tagjax.datasets.class_attributes.read_attributes`.

  Args:
    path: the folder of the tasks.
    num_tasks: the first so many; None: all.
    image_size: height and width of the images.
    image_resize: `"stretch"` or `"crop"`.
    test_fraction: fraction of each class for the test, where a task has no folder `test`.
    data_seed: seed of that draw.
    input: whether images are kept in memory or read when needed, see `tagjax.datasets.load_folder`.

  Raises:
    ValueError: if an argument is wrong, or there are fewer tasks.
    DatasetUnavailableError: if the folder does not hold what it must, or the attributes not what
      they must.
  """
  check_path(path)
  root = paths.absolute(path)
  tasks = image_folder.subfolders(root)
  if not tasks or (num_tasks or 1) > len(tasks):
    raise ValueError(
      f"image_folders is {str(path)!r}, in which there are {len(tasks)} folders, "
      f"{num_tasks or 'at least 1'} wanted: one for each task"
    )
  loaded = [
    datasets.load_folder(
      task,
      (image_size, image_size, 3),
      resize=image_resize,
      test_fraction=test_fraction,
      data_seed=data_seed,
      input=input,
    )
    for task in tasks[:num_tasks]
  ]
  file = root / class_attributes.FILE
  if not file.exists():
    return loaded
  known = class_attributes.read_attributes(file)
  return [
    one._replace(attributes=class_attributes.of_classes(known, one.class_names, file))
    for one in loaded
  ]


def load_parts(
  names: Sequence[str],
  *,
  data_dir: folders.PathLike | None,
  input: str,
  image_size: int,
  image_resize: str,
) -> list[datasets.Dataset]:
  """Data sets by name: those that tagjax can prepare itself, the others from the user's folders.

  The latter are in `<data folder>/image_folders/NAME`, as `train/CLASS/FILE` and
  `test/CLASS/FILE`. What is there goes before what would have to be prepared.

  Args:
    names: their names.
    data_dir: the data folder, see `tagjax.datasets.load`.
    input: see there.
    image_size: height and width of the images from the user's folders.
    image_resize: how they are brought to it, `"stretch"` or `"crop"`.

  Raises:
    DatasetUnavailableError: if one is neither here nor there; the text names the way out.
  """
  own = folders.data_dir(data_dir) / "image_folders"
  missing = [name for name in names if name not in datasets.names() and not (own / name).is_dir()]
  if missing:
    raise datasets.DatasetUnavailableError(
      f"no data for {', '.join(missing)}: put the images into {own}/NAME/train/CLASS/FILE and "
      f"{own}/NAME/test/CLASS/FILE, NAME being each of these, or choose a smaller num_tasks"
    )
  shape = (image_size, image_size, 3)
  return [
    datasets.load_folder(own / name, shape, resize=image_resize, input=input)
    if (own / name).is_dir()
    else datasets.load(name, data_dir=data_dir, input=input)
    for name in names
  ]


def check_path(path: object) -> None:
  """Whether the folder of the tasks is named at all.

  Raises:
    ValueError: says what to name.
  """
  if not path:
    raise ValueError(
      f"image_folders is {path!r}: name the folder that holds a folder for each task, with "
      "CLASS/FILE or train/CLASS/FILE and test/CLASS/FILE in it"
    )


_LARGEST_SIZE = 4096

OPTIONS = ("image_size", "image_resize", "test_fraction")
"""What `check_options` takes, in its order."""


def check_options(image_size: object, image_resize: object, test_fraction: object) -> None:
  """Refuses sizes and fractions that cannot be.

  Raises:
    ValueError: names the argument, its value and what is possible.
  """
  if image_size is not None:
    checks.check_integer("image_size", image_size, 1, _LARGEST_SIZE)
  checks.check_choice("image_resize", image_resize, image_folder.RESIZES)
  checks.check_fraction("test_fraction", test_fraction)
  if test_fraction == 0:
    raise ValueError("test_fraction is 0: a task needs test examples")
