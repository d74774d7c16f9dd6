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
# A network learns five tasks, one after another: the digits 0 to 9, with their pixels permuted anew
# for each task. Nothing is downloaded, and the whole notebook runs in about half a minute.

# %%
import tempfile
from pathlib import Path

import tagjax

# %% [markdown]
# ## Three objects: a stream, a model, a method
#
# A stream is a sequence of tasks, each with training and test examples. Here all tasks share ten
# outputs, and only the images change ("domain-incremental").

# %%
stream = tagjax.load_benchmark("permuted_digits", num_tasks=5)
for experience in stream:
  print(experience.task_id, experience.name, experience.train.image.shape, len(experience.test))

# %% [markdown]
# The model is any Flax module; this one is a perceptron. A method is an Optax optimizer, or a chain
# of continual learning methods that ends in one. We compare RMSProp with TAG over RMSProp.
# Validation examples chose the learning rates (`configs/digits.py`).

# %%
model = tagjax.models.MLP(stream.spec.num_outputs, hidden=(100, 100))
methods = {
  "rmsprop": tagjax.methods.naive.rmsprop(0.005),
  "tag": tagjax.methods.tag_method(
    0.002, num_tasks=len(stream)
  ),  # tagjax.tag, with its weights told
}

# %% [markdown]
# ## Training
#
# `fit` trains the stream once for each seed, and all seeds together in one compiled program. In a
# `workdir` it keeps checkpoints, a log, plots and results: the same call resumes an interrupted
# run. Without one, everything stays in memory.

# %%
folder = Path(tempfile.mkdtemp())
for name, method in methods.items():
  options = {"seeds": 5, "plots": False, "progress": False}  # the plots are drawn below
  tagjax.fit(stream, model, method, workdir=folder / name, **options)

# %% [markdown]
# ## The results
#
# `load_runs` reads finished runs; `fit` returns the same object. A run is shown as the table of its
# metrics. TAG forgets less and, averaged over the seeds, ends ahead of RMSProp. The seeds differ
# widely, as the standard deviations say.

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
for run in runs:
  print(run.name)
  print((100 * run.accuracy[0]).round(1))

# %%
runs["tag"].plot_accuracy_matrix()

# %%
runs.plot()

# %% [markdown]
# ## Frames
#
# `to_frame` has a row for each accuracy: what is left of each task at the end?

# %%
frame = runs.to_frame()
final = frame[frame["after_task"] == len(stream) - 1]
final.pivot_table(index="task_name", columns="run", values="accuracy", sort=False).round(3)

# %% [markdown]
# ## TAG's weights
#
# TAG gives each earlier task a weight for every parameter tensor: above 1 (red) where the current
# direction opposes the direction in which that task was learned (the step gets smaller), below 1
# (blue) where they agree. Here: the mean over tensors, over the last epoch of each task.

# %%
runs["tag"].plot_task_relatedness()

# %% [markdown]
# ## From here
#
# - Another method: `tagjax.chain(tagjax.methods.er(stream.spec, capacity=10), method)`, or your own
#   ([docs/add_a_method.md](../docs/add_a_method.md)).
# - Your own arrays: `tagjax.Stream.from_arrays`
#   ([docs/add_a_benchmark.md](../docs/add_a_benchmark.md)).
# - The same from the command line: `python launch.py --config=configs/digits.py:tag`.
# - More of what can be done with finished runs: [analysis.ipynb](analysis.ipynb).
