# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quickstart: train on a stream of tasks, and see what is forgotten
#
# A network learns five tasks, one after another: the digits 0 to 9 with their pixels permuted anew
# for each task. Nothing is downloaded, and the whole notebook runs in about a minute.

# %%
import tempfile
from pathlib import Path

import numpy as np

import tagjax
from tagjax.config.defaults import base_config
from tagjax.report import plots
from tagjax.training.experiment import run

# %% [markdown]
# ## The stream
#
# A benchmark is a sequence of experiences, one a task, each with training and test examples.

# %%
stream = tagjax.load_benchmark("permuted_digits", num_tasks=5)
print(stream.spec.scenario, "incremental,", stream.spec.num_outputs, "outputs")
for experience in stream:
  print(experience.task_id, experience.name, experience.train.image.shape, len(experience.test))

# %% [markdown]
# ## Two runs
#
# All settings stand in one config; every key is explained in `tagjax/config/defaults.py`. We train
# with RMSProp and with TAG-RMSProp, two seeds each.

# %%
folder = Path(tempfile.mkdtemp())


def train(method: str, learning_rate: float) -> dict:
  config = base_config()
  config.num_tasks = 5
  config.mlp.hidden = (64, 64)
  config.method = method
  config.learning_rate = learning_rate
  config.seeds = 2
  return run(config, folder / method, progress=False)


results = {"rmsprop": train("rmsprop", 0.001), "tag": train("tag", 0.0001)}

# %% [markdown]
# ## The accuracy matrix
#
# Row: after training on a task. Column: accuracy on that task's test examples. Reading down a
# column shows how much of a task is left.

# %%
for name, result in results.items():
  matrix = np.array(result["accuracy_matrix"][0], float)
  print(name)
  print(np.round(100 * matrix, 1))

# %%
for name, result in results.items():
  for figure in ("average_accuracy", "forgetting", "learning_accuracy"):
    values = result[figure]
    print(f"{name:8} {figure:18} {100 * values['mean']:6.1f} ± {100 * values['std']:.1f} %")

# %%
plots.plot_accuracy_matrix(results["tag"])

# %%
plots.plot_comparison(results)

# %% [markdown]
# ## TAG's weights
#
# TAG gives each earlier task a weight for every parameter tensor: above 1 where the current
# direction opposes the direction in which that task was learned (the step gets smaller), below 1
# where they agree. Here: the mean over tensors, over the last epoch of each task.

# %%
plots.plot_task_relatedness(results["tag"])

# %%
print(np.round(np.array(results["tag"]["task_relatedness"][0], float), 2))
