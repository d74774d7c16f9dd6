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
# for each task. Nothing is downloaded, and the whole notebook runs in about half a minute.

# %%
import tempfile
from pathlib import Path

import numpy as np
from tagjax.training.experiment import run

import tagjax
from tagjax.config.defaults import base_config

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
# with RMSProp and with TAG-RMSProp, five seeds each. The learning rates are those that validation
# examples chose (`configs/digits.py`).

# %%
folder = Path(tempfile.mkdtemp())


def train(method: str, learning_rate: float) -> None:
  config = base_config()
  config.num_tasks = 5
  config.mlp.hidden = (100, 100)
  config.method = method
  config.learning_rate = learning_rate
  config.seeds = 5
  run(config, folder / method, progress=False)


train("rmsprop", 0.005)
train("tag", 0.002)

# %% [markdown]
# ## The results
#
# Each run has left its results in a folder. `tagjax.load_runs` reads them; a run is shown as the
# table of its metrics. TAG forgets less and, averaged over the seeds, ends ahead of RMSProp. The
# seeds differ widely, as the standard deviations say.

# %%
runs = tagjax.load_runs(folder)
runs

# %%
runs["tag"]

# %% [markdown]
# ## The accuracy matrix
#
# Row: after training on a task. Column: accuracy on that task's test examples. Reading down a
# column shows how much of a task is left.

# %%
for name in runs.names:
  print(name)
  print(np.round(100 * runs[name].accuracy[0], 1))

# %%
runs["tag"].plot_accuracy_matrix()

# %%
runs.plot()

# %% [markdown]
# ## TAG's weights
#
# TAG gives each earlier task a weight for every parameter tensor: above 1 (red) where the current
# direction opposes the direction in which that task was learned (the step gets smaller), below 1
# (blue) where they agree. Here: the mean over tensors, over the last epoch of each task.

# %%
runs["tag"].plot_task_relatedness()

# %%
print(np.round(runs["tag"].task_relatedness[0], 2))

# %% [markdown]
# More of what can be done with finished runs: `analysis.ipynb`.
