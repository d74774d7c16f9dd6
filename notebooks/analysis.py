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
# # Exploring finished runs
#
# A run leaves `results.json` and `metrics.jsonl` in its folder. `tagjax.load_runs` reads any number
# of them: as arrays, as pandas frames, as plots. This notebook first makes two small runs; with
# runs of your own, start at the second heading. It takes about half a minute.

# %%
import tempfile
from pathlib import Path

import numpy as np

import tagjax

# %% [markdown]
# ## Two small runs
#
# RMSProp and TAG on five tasks of permuted digits, three seeds each, with the learning rates of
# `configs/digits.py`. `chunk_steps` is how often the loss is written to the log.

# %%
folder = Path(tempfile.mkdtemp())
stream = tagjax.load_benchmark("permuted_digits", num_tasks=5)
model = tagjax.models.MLP(stream.spec.num_outputs, hidden=(64, 64))
methods = {
  "rmsprop": tagjax.methods.naive.rmsprop(0.005),
  "tag": tagjax.methods.tag_method(0.002, num_tasks=len(stream)),
}
for name, method in methods.items():
  options = {"seeds": 3, "chunk_steps": 20, "progress": False}
  tagjax.fit(stream, model, method, workdir=folder / name, **options)

# %% [markdown]
# ## Loading
#
# Folders, or patterns such as `"runs/*"`. Folders without a finished run are named and left out,
# grids (`config.sweep`) are kept apart in `runs.grids`.

# %%
runs = tagjax.load_runs(folder / "*")
runs

# %% [markdown]
# A run is found by its name or its place. Runs of the same method are told apart by the settings in
# which they differ.

# %%
print(runs.names)
tag = runs["tag"]
tag

# %% [markdown]
# ## Arrays
#
# One value a seed, and the whole accuracy matrices `[seeds, tasks, tasks]`: after which task (row),
# on which task (column), NaN where not evaluated.

# %%
print(tag.seeds, tag.average_accuracy.round(3), tag.forgetting.round(3))
print((100 * tag.accuracy.mean(axis=0)).round(1))

# %% [markdown]
# ## Frames
#
# `to_frame` has a row for each accuracy that was measured.

# %%
long = runs.to_frame()
long.head()

# %%
final = long[long["after_task"] == 4]
final.pivot_table(index="task_name", columns="run", values="accuracy", sort=False).round(3)

# %% [markdown]
# `metrics` has a row for each run: the settings in which they differ, and every metric with
# standard deviation and 95 % confidence interval.

# %%
runs.metrics().T

# %% [markdown]
# `compare` refuses runs that differ in more than the method. Its frame holds the table as it is
# printed, and `to_latex` or `to_csv` write it for a paper.

# %%
table = runs.compare()
print(table.to_latex(index=False, columns=list(table)[:5]))

# %% [markdown]
# ## Is the difference one?
#
# The same seed gives both runs the same first weights and the same order of examples, so that the
# differences are taken seed by seed. The interval is Student's t; if it holds 0, these seeds show
# no difference.

# %%
runs.differences("rmsprop")

# %%
runs.plot_differences("rmsprop")

# %% [markdown]
# ## Plots
#
# What was learned against what was kept, and where the final accuracies come from.

# %%
runs.plot_plasticity_stability()

# %%
runs.plot_final_accuracy()

# %%
runs.plot()

# %% [markdown]
# ## The log
#
# `log` is metrics.jsonl with one row a line; `training_curve` the losses, counted over the whole
# stream.

# %%
tag.training_curve().tail()

# %%
tag.plot_loss()

# %% [markdown]
# ## TAG's weights, layer by layer
#
# While it trains a task, TAG weighs each earlier task for every parameter tensor: above 1 (red)
# where the directions oppose each other, and the step gets smaller; below 1 (blue) where they
# agree; white is 1, unrelated. Time runs from left to right.

# %%
tag.plot_layer_weights()

# %% [markdown]
# The same as a frame: which tensors see the most conflict?

# %%
weights = tag.diagnostics("task_relatedness")
log_weight = np.log(weights["value"]).groupby(weights["tensor_name"])
np.exp(log_weight.mean()).sort_values(ascending=False).round(2)

# %% [markdown]
# ## Keeping
#
# `save` writes results, log and all plots into a folder that `load_runs` reads.

# %%
saved = tag.save(folder / "saved" / "tag")
print(sorted(path.name for path in saved.iterdir()))
print(tagjax.load_runs(saved)["tag"])
