"""The table of the benchmarks: from a name to its data, its tasks and its paper."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tagjax.benchmarks import loading
from tagjax.benchmarks.drawn import make_drawn
from tagjax.benchmarks.families import make_families
from tagjax.benchmarks.lifelong import make_lifelong
from tagjax.benchmarks.office_home import make_office_home
from tagjax.benchmarks.permuted import make_permuted
from tagjax.benchmarks.rotated import make_rotated
from tagjax.benchmarks.several import make_several
from tagjax.benchmarks.split import make_split
from tagjax.benchmarks.stream import Stream

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_SPLIT = ("classes", "class_order", "classes_per_task")


class Benchmark(NamedTuple):
  """What is known of a benchmark.

  Attributes:
    sources: names of its data sets; none where they are the user's own.
    make: what makes its stream of the data.
    num_tasks: its tasks; None: as many as the data have.
    scenario: its scenario.
    summary: what each task has, in a few words.
    takes: options that `make` takes besides the common ones.
    load: what loads its data.
    load_takes: options that `load` takes.
    defaults: values of options where they are not those of `OPTIONS`.
    paper: where the stream comes from.
    published: figures to compare with, average accuracy over all tasks after the last one, in %.
  """

  sources: tuple[str, ...]
  make: Callable[..., Stream]
  num_tasks: int | None
  scenario: str
  summary: str
  takes: tuple[str, ...] = ()
  load: Callable[[loading.Request], Any] = loading.load_one
  load_takes: tuple[str, ...] = ()
  defaults: Mapping[str, Any] = _NOTHING
  paper: str = ""
  published: str = ""


OPTIONS: Mapping[str, Any] = MappingProxyType(
  {
    "classes": None,
    "class_order": "natural",
    "classes_per_task": None,
    "tasks_apart": 0,
    "image_folders": None,
    "image_size": None,
    "image_resize": "stretch",
    "test_fraction": 0.2,
  }
)
"""Options that only some benchmarks take, with the values that mean nothing was asked for."""


def _transformed(dataset: str, make: Callable, num_tasks: int, summary: str, paper: str):
  return Benchmark((dataset,), make, num_tasks, "domain", summary, paper=paper)


def _split(
  dataset: str, num_tasks: int, summary: str, *, paper: str = "", published: str = "", **defaults
):
  return Benchmark(
    (dataset,),
    make_split,
    num_tasks,
    "task",
    summary,
    takes=_SPLIT,
    defaults=defaults,
    paper=paper,
    published=published,
  )


_PERMUTED, _ROTATED = "pixels in another order", "turned by another angle"
_GOODFELLOW = "Goodfellow et al. 2013"
_GEM = "GEM, Lopez-Paz and Ranzato, NeurIPS 2017"
_SI = "SI, Zenke, Poole and Ganguli, ICML 2017"
_TAG = "TAG, Malviya, Ravindran and Chandar, CoLLAs 2022"
_AGEM = "A-GEM, Chaudhry et al., ICLR 2019"
_ITAML = "iTAML, Rajasegaran et al., CVPR 2020"
_MAS = "MAS, Aljundi et al., ECCV 2018"
_LASEM = "LASEM, Lee, Behpour and Eaton, ICML 2021"

OBJECT_SEQUENCE = (
  "flowers102",
  "mit_indoor67",
  "cub200",
  "cars",
  "aircraft",
  "actions",
  "letters",
  "svhn_cropped",
)
"""The data sets of MAS's sequence of eight object recognition tasks."""

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
  {
    "permuted_digits": _transformed("digits", make_permuted, 10, _PERMUTED, _GOODFELLOW),
    "rotated_digits": _transformed("digits", make_rotated, 10, _ROTATED, _GEM),
    "split_digits": _split("digits", 5, "2 classes"),
    "split_glyphs": _split(
      "glyphs", 15, "4 characters, in other fonts at test", classes_per_task=4
    ),
    "permuted_mnist": _transformed("mnist", make_permuted, 20, _PERMUTED, _GOODFELLOW),
    "permuted_fashion_mnist": _transformed(
      "fashion_mnist", make_permuted, 20, _PERMUTED, _GOODFELLOW
    ),
    "rotated_mnist": _transformed("mnist", make_rotated, 20, _ROTATED, _GEM),
    "split_mnist": _split("mnist", 5, "2 classes", paper=_SI),
    "split_fashion_mnist": _split("fashion_mnist", 5, "2 classes"),
    "split_cifar10": _split("cifar10", 5, "2 classes"),
    "split_cifar100": _split(
      "cifar100",
      20,
      "5 classes",
      paper=_TAG,
      published="TAG 62.8, RMSProp 48.9, ER 59.1 (one epoch, task-incremental)",
    ),
    "split_mini_imagenet": _split(
      "mini_imagenet",
      20,
      "5 classes",
      paper=_TAG,
      published="TAG 57.2, RMSProp 45.1, ER 54.7 (one epoch, task-incremental)",
    ),
    "split_cub": _split(
      "cub200",
      20,
      "10 kinds of birds",
      paper=_TAG,
      published="TAG 61.6, RMSProp 49.4, ER 59.3 (one epoch, pretrained ResNet-18)",
    ),
    "split_tiny_imagenet": _split("tiny_imagenet", 4, "50 classes"),
    "split_svhn": _split(
      "svhn_cropped",
      5,
      "2 classes",
      paper=_ITAML,
      published="iTAML 94.0 (class-incremental)",
    ),
    "split_notmnist": _split("not_mnist", 5, "2 classes"),
    "split_omniglot": Benchmark(
      ("omniglot_by_drawer",), make_families, None, "task", "an alphabet, unequally many classes"
    ),
    "split_imagenet": _split(
      "imagenet",
      10,
      "10 of the first 100 classes, or 100 of all with classes=1000",
      paper=_ITAML,
      published="iTAML 89.8 with 100 classes, 63.2 with 1000 (class-incremental, top-5)",
      classes=100,
    ),
    "split_ms_celeb": _split(
      "ms_celeb",
      10,
      "1000 people",
      paper=_ITAML,
      published="iTAML 95.0 (class-incremental, top-5)",
    ),
    "split_awa2": Benchmark(
      ("awa2",),
      make_drawn,
      20,
      "task",
      "5 classes drawn at random, which come again",
      takes=("classes", "classes_per_task", "tasks_apart"),
      defaults=MappingProxyType({"classes_per_task": 5}),
      paper=_AGEM,
      published="A-GEM 44.0, SGD 30.4 (17 tasks of classes 15-49, mean of the classes' accuracies)",
    ),
    "office_home": Benchmark(
      ("office_home",),
      make_office_home,
      10,
      "task",
      "13 things, of the domain Product and then of RealWorld",
      paper=_LASEM,
    ),
    "stl10_lifelong": Benchmark(
      ("stl10",),
      make_lifelong,
      20,
      "task",
      "3 classes drawn at random, with noise and exchanged colours",
      takes=("classes_per_task",),
      defaults=MappingProxyType({"classes_per_task": 3}),
      paper=_LASEM,
    ),
    "five_datasets": Benchmark(
      ("cifar10", "mnist", "svhn_cropped", "not_mnist", "fashion_mnist"),
      make_several,
      5,
      "task",
      "a data set of 10 classes",
      takes=("image_size", "input"),
      load=loading.load_each,
      defaults=MappingProxyType({"image_size": 32}),
      paper=_TAG,
      published="TAG 62.6, RMSProp 45.5, ER 61.6 (one epoch, task-incremental)",
    ),
    "object_sequence": Benchmark(
      OBJECT_SEQUENCE,
      make_several,
      8,
      "task",
      "a data set of objects",
      takes=("image_size", "input"),
      load=loading.load_parts,
      load_takes=("image_size", "image_resize"),
      defaults=MappingProxyType({"image_size": 224}),
      paper=_MAS,
    ),
    "image_folders": Benchmark(
      (),
      make_several,
      None,
      "task",
      "a folder of your own images",
      takes=("image_size", "input"),
      load=loading.load_folders,
      load_takes=("image_folders", "image_size", "image_resize", "test_fraction"),
      defaults=MappingProxyType({"image_size": 64}),
    ),
  }
)
"""All benchmarks by name."""
