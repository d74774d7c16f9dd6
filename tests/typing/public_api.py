"""What a user writes, for the type checker (`make lint`): the public names have right types.

Nothing here is run.
"""

from typing import assert_type

import optax
import pandas as pd

import tagjax


def extend() -> tagjax.Method:
  def update(updates, state, params, *, at: tagjax.Step):
    return updates, state

  own = tagjax.Method(init=lambda params: (), update=update, phases=(tagjax.Phase("train"),))
  return tagjax.chain(own, tagjax.methods.ewc(10.0), tagjax.tag(1e-3, num_tasks=3))


def train() -> tagjax.Run:
  stream = tagjax.load_benchmark("split_digits", num_tasks=5)
  assert_type(stream, tagjax.Stream)
  assert_type(stream.spec, tagjax.StreamSpec)
  options = tagjax.RunOptions(epochs=1, seeds=3, protocol="sequential")
  model = tagjax.models.MLP(stream.spec.num_outputs, hidden=(8,))
  run = tagjax.fit(stream, model, extend(), options=options, workdir="runs/mine")
  assert_type(run.to_frame(), pd.DataFrame)
  return run


def search() -> tagjax.Grid:
  stream = tagjax.load_benchmark("split_digits")
  model = tagjax.Model(init=lambda key, image: {}, apply=lambda params, image: image)
  by_optuna = tagjax.search(stream, model, lambda h: optax.sgd(h["rate"]), space={"rate": "1..2"})
  assert_type(by_optuna, tagjax.Grid)
  return tagjax.sweep(stream, model, lambda h: optax.sgd(h["rate"]), grid={"rate": [0.1, 0.01]})


def look() -> None:
  runs = tagjax.load_runs("runs/*")
  assert_type(runs, tagjax.Runs)
  assert_type(runs.metrics(), pd.DataFrame)
