"""A stream of arrays: each task tells four bells apart, which have other places each time."""

import numpy as np

import tagjax


@tagjax.register("bells", kind="benchmark")
def stream(num_tasks: int = 3, noise: float = 0.3, validation_fraction: float = 0.0):
  rng, label, tasks = np.random.default_rng(0), np.arange(100) % 4, []
  for places in rng.normal(size=(num_tasks, 1, 4, 8)):
    train, test = (places[:, label] + noise * rng.normal(size=(2, 100, 8))).astype(np.float32)
    tasks.append((train, label, test, label))
  options = {"scenario": "domain", "validation_fraction": validation_fraction}
  return tagjax.Stream.from_arrays("bells", tasks, **options)
