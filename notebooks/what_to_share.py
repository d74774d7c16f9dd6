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
# # What to share
#
# A network learns ten digits, two at a time. Which of its convolutions should a new task share with
# the others, and which should be its own? LASEM trains all answers at once and weighs them by how
# well they do. This notebook shows how its posterior moves while a task is learned, what it
# chooses, and how much the network grows by it. Nothing is downloaded, and it takes about a minute.

# %%
import tempfile

import optax
import pandas as pd

import tagjax

# %% [markdown]
# ## A searched network
#
# `sharing="searched"` gives each of the two convolutions a kernel that all tasks share and one of
# each task's own. A configuration says which of the two a task takes: `TF` shares the first layer,
# the one that sees the image, and not the second. `lasem` computes all four configurations in each
# step. Only the rows of the current task move, each with an optimizer state of its own.
#
# The log of the run's folder keeps the posterior, a mean over each chunk of ten steps.

# %%
stream = tagjax.load_benchmark("split_digits", num_tasks=5, scenario="task")
sizes = {"channels": (8, 16), "kernels": (3, 3), "pools": (2, 2), "hidden": (16,), "dropout": 0.0}
EPOCHS = 15


def train(network, *members):
  stacked = tagjax.task_stacked(network, stream.spec)
  optimizer = tagjax.only_current_task(optax.adam(3e-3), stacked)
  return tagjax.fit(
    stream,
    network,
    tagjax.chain(*members, optimizer),
    epochs=EPOCHS,
    batch_size=32,
    chunk_steps=10,
    workdir=tempfile.mkdtemp(),
    plots=False,
    progress=False,
  )


searched = tagjax.models.hps(stream.spec, sharing="searched", **sizes)
lasem = train(searched, tagjax.methods.lasem())
lasem

# %% [markdown]
# ## The posterior while a task is learned
#
# All configurations begin with the same probability. The posterior of a step is that of one batch,
# so it moves with the batch.

# %%
lasem.plot_monitored("posterior")

# %% [markdown]
# The prior is its running mean over the task, and the configuration with the largest prior is kept
# when the task ends.

# %%
lasem.plot_monitored("prior")

# %% [markdown]
# ## What each task shares
#
# `outcomes` holds what the method told after each task, with an axis of seeds and one of tasks.

# %%
layers = lasem.outcomes["shared_layers"][0]
pd.DataFrame(
  {
    "shared layers": ["".join("FT"[int(one)] for one in row) for row in layers],
    "probability": lasem.outcomes["configuration_probability"][0].round(3),
    "parameters in use": lasem.growth.parameters[0].astype(int),
  },
  index=pd.Index(lasem.task_names, name="task"),
)

# %% [markdown]
# A probability near a quarter says that the four configurations did about equally well, so the
# choice is hardly more than a draw. The code of the paper measures a configuration by the mean
# probability of the true labels, whose ratios are small once all configurations classify well.
# `lasem(likelihood="product")` multiplies the probabilities over a batch, whose ratios are larger.

# %% [markdown]
# ## Growth
#
# Shapes are static: rows of all five tasks are allocated from the start (grey). In use is what the
# tasks so far need. A progressive network, to compare with, has a column of its own for each task
# and laterals from all columns before, so that its parameters and its operations grow faster than
# the number of tasks.

# %%
columns = train(tagjax.models.prognn(stream.spec, **sizes))
columns.plot_growth()

# %%
lasem.plot_growth()

# %%
runs = {"lasem": lasem, "progressive": columns}
pd.DataFrame(
  {
    name: {
      "average accuracy (%)": 100 * run.average_accuracy[0],
      "forgetting (%)": 100 * run.forgetting[0],
      "parameters": run.growth.parameters[0, -1],
      "operations of a step (M)": run.growth.step_flops[-1] / 1e6,
      "operations to classify an image of the last task (M)": run.growth.evaluation_flops[-1] / 1e6,
    }
    for name, run in runs.items()
  }
).round(2)

# %% [markdown]
# LASEM pays while it learns, for all configurations, and little afterwards: its final network costs
# no more than an ordinary one. A progressive network pays with each image that it classifies.
# [docs/lifelong_architectures.md](../docs/lifelong_architectures.md) has the networks, the methods
# and the definitions of these figures.
