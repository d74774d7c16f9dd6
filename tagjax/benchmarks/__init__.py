"""Benchmarks: data sets cut into streams of tasks.

`load_benchmark` makes a `Stream` of `Experience`s; `names` lists what there is, and
`python -m tagjax.benchmarks` prints it. A stream of one's own arrays is made by
`Stream.from_arrays`.
"""

from tagjax.benchmarks.experience import Experience, TaskExamples
from tagjax.benchmarks.load import check_options, load_benchmark, names
from tagjax.benchmarks.stream import Stream
from tagjax.benchmarks.table import OPTIONS

__all__ = [
  "OPTIONS",
  "Experience",
  "Stream",
  "TaskExamples",
  "check_options",
  "load_benchmark",
  "names",
]
