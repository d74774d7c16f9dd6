"""Benchmarks: data sets cut into streams of tasks.

`load_benchmark` makes a `Stream` of `Experience`s; `names` lists what there is, and
`python -m tagjax.benchmarks` prints it. A stream of one's own arrays is made by
`Stream.from_arrays`.
"""

from tagjax.benchmarks.declared import check_declared, load_declared
from tagjax.benchmarks.experience import Experience, TaskExamples
from tagjax.benchmarks.load import load_benchmark, names
from tagjax.benchmarks.stream import Stream

__all__ = [
  "Experience",
  "Stream",
  "TaskExamples",
  "check_declared",
  "load_benchmark",
  "load_declared",
  "names",
]
