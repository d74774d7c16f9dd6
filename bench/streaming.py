"""A stream that is read from its files while it trains, against the same one kept in memory.

Makes a set of JPEGs in array_record files (kept in `--folder` for the next time), and prints

  - images a second of each stage of reading, from the files and from what was kept decoded;
  - images a second of the same training steps, fed from memory, from the files and from what was
    kept;
  - two epochs of the whole set, the first of which decodes and keeps: time and memory.

  python -m bench.streaming [--images=100000] [--size=112] [--folder=DIR]
"""

import argparse
import functools
import io
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import psutil
import tensorflow_datasets as tfds
from PIL import Image

from bench.train_step import make_programs
from tagjax import datasets
from tagjax.benchmarks import split
from tagjax.datasets import decode, kept_images, prepared, read_ahead
from tagjax.input_pipeline.data_source import training_source
from tagjax.input_pipeline.prefetch import Feed

CLASSES, TASKS, DISTINCT = 100, 10, 2000


class Photos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """JPEGs of smooth random colours; a few thousand different ones, each many times."""

  name = "photos"
  VERSION = tfds.core.Version("1.0.0")

  def __init__(self, *, images: int, size: int, **more):
    self.images, self.size = images, size
    super().__init__(**more)

  def _info(self):
    image = tfds.features.Image(shape=(None, None, 3))
    features = {"image": image, "label": tfds.features.ClassLabel(num_classes=CLASSES)}
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    del dl_manager
    return {"train": self._generate_examples(self.images), "test": self._generate_examples(CLASSES)}

  def _generate_examples(self, images):
    files = [jpeg(number, self.size) for number in range(DISTINCT)]
    for index in range(images):
      yield index, {"image": io.BytesIO(files[index % DISTINCT]), "label": index % CLASSES}


def jpeg(number: int, size: int) -> bytes:
  rng = np.random.default_rng(number)
  small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
  file = io.BytesIO()
  small.resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
  return file.getvalue()


def find(options) -> prepared.Prepared:
  """The set, made where it is not there."""
  root = pathlib.Path(options.folder) / f"{options.images}x{options.size}"
  builder = Photos(images=options.images, size=options.size, data_dir=root)
  if not builder.is_prepared():
    tfds.disable_progress_bar()
    builder.download_and_prepare(file_format="array_record")
  counts = {"train": options.images, "test": CLASSES}
  return prepared.Prepared(pathlib.Path(builder.data_dir), "1.0.0", counts, "")


def make_stream(found: prepared.Prepared, size: int, *, way: str, folder: str = ""):
  """Ten tasks of ten classes; `way` as `input` of `datasets.load`."""

  def examples(part):
    records = decode.Records(found, part, (size, size, 3), "stretch")
    label = np.fromiter(records.labels(), np.int32, len(records))
    if way == "memory":
      return datasets.Examples(records[np.arange(len(records))], label)
    image = keep(records, f"{folder}/{part}") if way == "stream" else records
    return datasets.Examples(image, label)

  data = datasets.Dataset("photos", "1", examples("train"), examples("test"), CLASSES, 255)
  return split.make_split(data, name="photos", num_tasks=TASKS)


def keep(records: decode.Records, folder: str) -> kept_images.KeptImages:
  return kept_images.KeptImages(records.shape, lambda: records, pathlib.Path(folder))


class Training:
  """Steps of `launch.py`, without its trainer."""

  def __init__(self, stream, model: str, batch_size: int):
    sizes = [size[0] for size in stream.sizes]
    self.steps = [size // batch_size for size in sizes]
    self.source = training_source(
      lambda task: stream[task].train,
      capacity=max(sizes),
      batch_size=batch_size,
      chunk_steps=100,
      streamed=stream.is_streamed("train"),
    )
    settings = {"model": model, "method": "sgd", "learning_rate": 0.01, "mlp.hidden": (64,)}
    self.programs = make_programs(
      stream.spec,
      self.steps,
      eval_batch_size=1,
      in_order=self.source.in_order,
      batch_size=batch_size,
      **settings,
    )
    self.state = self.programs.init(jax.random.key(0)[None])

  def run(self, task: int, start: int, stop: int) -> None:
    for first in range(start, stop, self.source.chunk_steps):
      last = min(first + self.source.chunk_steps, stop)
      examples, *bounds = self.source.chunk(task, task, first, last, key=self.state.key)
      self.state, chunk = self.programs.train(
        self.state, examples, task, task, *bounds, phase="train"
      )
      jax.block_until_ready(chunk)


def rate(function, images: int) -> float:
  """Images a second."""
  start = time.perf_counter()
  function()
  return images / (time.perf_counter() - start)


def stages(found: prepared.Prepared, size: int, folder: str) -> None:
  """Each stage alone, on images in random order, in batches of 10."""
  records = decode.Records(found, "train", (size, size, 3), "stretch")
  rows = np.random.default_rng(0).permutation(len(records))[:10000]
  pieces = np.array_split(rows, len(rows) // read_ahead.piece_size(size * size * 3))
  upload = functools.partial(jax.device_put, np.repeat(records[rows[:10]], 100, axis=0))

  def fed(images):
    reader = Feed(Examples(images), rows.reshape(-1, 10), ahead=100)
    while reader.position < len(rows) // 10:
      jax.block_until_ready(reader.window(reader.position + 100, 1000))

  def first_epoch():
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
      fed(keep(records, fresh))

  kept = keep(records, f"{folder}/stages")
  fed(kept)
  threads = f"read and decode, {read_ahead.num_threads()} threads"
  print(f"{'stage':52}{'images/s':>10}")
  for name, function, images in (
    ("read from the files, one thread", lambda: list(map(records._read, pieces)), len(rows)),
    ("read and decode, one thread", lambda: list(map(records._decode_all, pieces)), len(rows)),
    (threads, lambda: list(read_ahead.ReadAhead(records._decode_all, pieces, ahead=8)), len(rows)),
    ("Feed from the files: input='files'", lambda: fed(records), len(rows)),
    ("Feed from the files, what is decoded kept", first_epoch, len(rows)),
    ("Feed of what is kept, at first by a new process", lambda: fed(anew(kept)), len(rows)),
    ("Feed of what is kept", lambda: fed(kept), len(rows)),
    ("upload alone", lambda: jax.block_until_ready(upload()), 1000),
  ):
    function()
    print(f"{name:52}{statistics.median(rate(function, images) for _ in range(3)):10.0f}")


def anew(kept: kept_images.KeptImages) -> kept_images.KeptImages:
  """The same files, of which nothing is known yet."""
  return kept_images.KeptImages(kept.shape, kept._images, kept._folder)


class Examples:
  """Images whose labels are all 0."""

  def __init__(self, images):
    self.image = images
    self.label = self.task_id = np.zeros(len(images), np.int32)

  def __len__(self):
    return len(self.image)


WAYS = ("memory", "files", "stream")


def compare(
  found: prepared.Prepared, size: int, model: str, batch_size: int, steps: int, folder: str
) -> None:
  """The same steps of the first task, from memory, from the files and from what is kept."""
  small = found._replace(num_examples=found.num_examples | {"train": 20000})
  ways = [
    Training(make_stream(small, size, way=way, folder=f"{folder}/{model}"), model, batch_size)
    for way in WAYS
  ]
  seconds = [[] for _ in ways]
  for _ in range(4):  # the first compiles, and keeps what it decodes
    for way, figures in zip(ways, seconds, strict=True):
      start = time.perf_counter()
      way.run(0, 0, steps)
      figures.append(time.perf_counter() - start)
  rates = [steps * batch_size / statistics.median(figures[1:]) for figures in seconds]
  print(f"{model:18}{batch_size:6}" + "".join(f"{rate:10.0f}" for rate in rates))


def epochs(found: prepared.Prepared, size: int, folder: str) -> None:
  """Two passes over the whole set; prints what they took beside the model."""
  process = psutil.Process()
  stream = make_stream(found, size, way="stream", folder=folder)
  training = Training(stream, "mlp", 64)
  training.run(0, 0, 1)
  before = process.memory_info().rss
  images = sum(training.steps) * 64
  for name in ("decoded and kept", "from what is kept"):
    start, most = time.perf_counter(), 0
    for task, steps in enumerate(training.steps):
      for first in range(0, steps, 50):
        training.run(task, first, min(first + 50, steps))
        most = max(most, process.memory_info().rss)
    seconds = time.perf_counter() - start
    print(
      f"{name}: {images} images in {seconds:.0f} s ({images / seconds:.0f} a second), decoded "
      f"{images * size * size * 3 / 2**30:.1f} GiB; resident memory {before / 2**20:.0f} MiB with "
      f"model and programs, {(most - before) / 2**20:.0f} MiB more at most",
      flush=True,
    )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=int, default=100000)
  parser.add_argument("--size", type=int, default=112)
  parser.add_argument("--folder", default=f"{tempfile.gettempdir()}/tagjax-bench-photos")
  parser.add_argument("--only", choices=("stages", "compare", "epochs"))
  options = parser.parse_args()
  found = find(options)
  with tempfile.TemporaryDirectory(prefix="kept-", dir=options.folder) as folder:
    if options.only in (None, "stages"):
      stages(found, options.size, folder)
    if options.only in (None, "compare"):
      print("\nimages/s" + " " * 10 + f"{'batch':>6}" + "".join(f"{way:>10}" for way in WAYS))
      compare(found, options.size, "reduced_resnet", 10, 8, folder)
      compare(found, options.size, "mlp", 64, 30, folder)
    if options.only == "epochs":
      epochs(found, options.size, folder)
  if options.only is None:  # a process of its own, whose memory nothing else has touched
    print(flush=True)
    command = [sys.executable, "-m", "bench.streaming", "--only=epochs"]
    of_set = [f"--images={options.images}", f"--size={options.size}", f"--folder={options.folder}"]
    subprocess.run([*command, *of_set], check=True)


if __name__ == "__main__":
  main()
