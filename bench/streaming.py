"""A stream that is read from its files while it trains, against the same one kept in memory.

Makes a set of JPEGs in array_record files (kept in `--folder` for the next time), and prints

  - images a second of each stage of reading, and of the training step;
  - seconds of the same training steps fed both ways;
  - the memory that one epoch of the whole set takes, above that of the model.

  python -m bench.streaming [--images=200000] [--size=112] [--folder=/tmp/tagjax-bench-photos]
"""

import argparse
import functools
import io
import pathlib
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
import psutil
import tensorflow_datasets as tfds
from PIL import Image

from bench.train_step import make_programs
from tagjax import datasets
from tagjax.benchmarks import split
from tagjax.datasets import decode, prepared
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


def make_stream(found: prepared.Prepared, size: int, *, kept: bool):
  """Ten tasks of ten classes; `kept`: decoded into memory now."""

  def examples(part):
    records = decode.Records(found, part, (size, size, 3), "stretch")
    label = np.fromiter(records.labels(), np.int32, len(records))
    image = records[np.arange(len(records))] if kept else records
    return datasets.Examples(image, label)

  data = datasets.Dataset("photos", "1", examples("train"), examples("test"), CLASSES, 255)
  return split.make_split(data, name="photos", num_tasks=TASKS)


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


def stages(found: prepared.Prepared, size: int) -> None:
  """Each stage alone, on images in random order."""
  records = decode.Records(found, "train", (size, size, 3), "stretch")
  rows = np.random.default_rng(0).permutation(len(records))[:10000]
  batches = rows.reshape(-1, 10)
  batch = records[rows[:10]]

  class Examples:
    image = records
    label = task_id = np.zeros(len(records), np.int32)

    def __len__(self):
      return len(records)

  def read():
    for part in batches:
      list(records._read(part))

  def decoded():
    for part in batches[:300]:
      records[part]

  def fed():
    reader = Feed(Examples(), batches, ahead=100)
    while reader.position < len(batches):
      reader.window(reader.position + 100, 1000)

  upload = functools.partial(jax.device_put, np.repeat(batch, 100, axis=0))
  print(f"{'stage':34}{'images/s':>10}")
  for name, function, images in (
    ("read from the files", read, len(rows)),
    ("read and decode, one thread", decoded, 3000),
    ("read, decode, batch, upload (Feed)", fed, len(rows)),
    ("upload alone", lambda: jax.block_until_ready(upload()), 1000),
  ):
    function()
    print(f"{name:34}{statistics.median(rate(function, images) for _ in range(3)):10.0f}")


def compare(found: prepared.Prepared, size: int, model: str, batch_size: int, steps: int) -> None:
  """The same steps of the first task, from memory and from the files, in turns."""
  small = found._replace(num_examples=found.num_examples | {"train": 20000})
  ways = [
    Training(make_stream(small, size, kept=kept), model, batch_size) for kept in (True, False)
  ]
  for way in ways:
    way.run(0, 0, 1)  # compiles
  seconds = [[], []]
  for _ in range(3):
    for way, figures in zip(ways, seconds, strict=True):
      start = time.perf_counter()
      way.run(0, 0, steps)
      figures.append(time.perf_counter() - start)
  kept, streamed = map(statistics.median, seconds)
  images = steps * batch_size
  print(
    f"{model:18}{batch_size:6}{images / kept:12.0f}{images / streamed:12.0f}{streamed / kept:9.2f}"
  )


def epoch(found: prepared.Prepared, size: int) -> None:
  """One pass over the whole set; prints what it took beside the model."""
  process, most = psutil.Process(), 0
  training = Training(make_stream(found, size, kept=False), "mlp", 64)
  training.run(0, 0, 1)
  before, start = process.memory_info().rss, time.perf_counter()
  for task, steps in enumerate(training.steps):
    for first in range(0, steps, 50):
      training.run(task, first, min(first + 50, steps))
      most = max(most, process.memory_info().rss)
  seconds = time.perf_counter() - start
  images = sum(training.steps) * 64
  print(
    f"{images} images in {seconds:.0f} s ({images / seconds:.0f} a second), decoded "
    f"{images * size * size * 3 / 2**30:.1f} GiB; resident memory {before / 2**20:.0f} MiB with "
    f"model and programs, {(most - before) / 2**20:.0f} MiB more at most"
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--images", type=int, default=200000)
  parser.add_argument("--size", type=int, default=112)
  parser.add_argument("--folder", default="/tmp/tagjax-bench-photos")
  parser.add_argument("--only", choices=("stages", "compare", "epoch"))
  options = parser.parse_args()
  found = find(options)
  if options.only == "epoch":
    epoch(found, options.size)
    return
  if options.only in (None, "stages"):
    stages(found, options.size)
  if options.only in (None, "compare"):
    print(f"\n{'model':18}{'batch':>6}{'memory':>12}{'stream':>12}{'ratio':>9}   images/s")
    compare(found, options.size, "reduced_resnet", 10, 20)
    compare(found, options.size, "mlp", 64, 30)
  if options.only is None:  # a process of its own, whose memory nothing else has touched
    print(flush=True)
    command = [
      sys.executable,
      "-m",
      "bench.streaming",
      "--only=epoch",
      f"--images={options.images}",
    ]
    subprocess.run([*command, f"--size={options.size}", f"--folder={options.folder}"], check=True)


if __name__ == "__main__":
  main()
