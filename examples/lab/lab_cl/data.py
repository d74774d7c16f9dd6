"""A stream of arrays: every task tells four bells apart, turned in another direction."""

import numpy as np

import tagjax


def stream(num_tasks: int = 3, noise: float = 0.3, validation_fraction: float = 0.0):
  rng = np.random.default_rng(0)
  label = np.arange(200) % 4

  def task(centres):
    return [(centres[label] + noise * rng.normal(size=(200, 8))).astype(np.float32), label] * 2

  tasks = [task(rng.normal(size=(4, 8))) for _ in range(num_tasks)]
  options = {"scenario": "domain", "validation_fraction": validation_fraction}
  return tagjax.Stream.from_arrays("bells", tasks, **options)
