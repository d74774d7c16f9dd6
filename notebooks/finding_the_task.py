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
# # Finding the task
#
# A network learns ten digits, two at a time. At test nobody tells it which two an image is of.
# iTAML finds that out from several images that are known to belong to one task: they vote. Then a
# copy of the network, adapted to that task, classifies them. This notebook shows how many images
# the vote needs, which tasks are confused, and what the copies gain. Nothing is downloaded, and it
# takes about half a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd

import tagjax

# %% [markdown]
# ## A run that measures all lengths at once
#
# The scenario `"class"` hides the task. `capacity=100` keeps a hundred exemplars in all, which are
# mixed into each later task and adapt the copies. `continuum=5` makes the test images of a task
# arrive in runs of five for the accuracy matrix; `continuum_lengths` are measured in the same pass.

# %%
stream = tagjax.load_benchmark("split_digits", num_tasks=5, scenario="class")
inner = optax.sgd(0.5, momentum=0.9)
method = tagjax.methods.itaml(stream.spec, inner, beta=0.5, capacity=100, per="total")
run = tagjax.fit(
  stream,
  tagjax.models.MLP(stream.spec.num_outputs, hidden=(100,)),
  method,
  epochs=30,
  batch_size=32,
  seeds=2,
  continuum=5,
  continuum_lengths=(1, 2, 10, 20, 50),
  confusion_matrix=True,
  progress=False,
)
run

# %% [markdown]
# ## How many images does the vote need?
#
# `run.continuum` holds what was measured: arrays over seeds, tasks and lengths p. The task accuracy
# is the share of images whose predicted class belongs to their own task. It bounds the accuracy,
# since an image of a wrong task is always wrong. The table is of the end of the stream.

# %%
measured = run.continuum
table = pd.DataFrame(
  {
    "accuracy": measured.accuracy[:, -1].mean(axis=0),
    "task accuracy": measured.task_accuracy[:, -1].mean(axis=0),
    "task-aware accuracy": measured.task_aware_accuracy[:, -1].mean(axis=0),
  },
  index=pd.Index(measured.lengths, name="p"),
)
(100 * table).round(1)

# %% [markdown]
# A single image finds its task about half of the time, and longer runs find it more often. If the
# task is told (task-aware), nearly all images are right, whatever their number.

# %%
run.plot_continuum()

# %% [markdown]
# ## Which tasks are confused?
#
# The confusion matrix of the final model, with runs of five: the true class by the predicted one,
# with lines between the tasks. Errors lie outside the blocks on the diagonal: the task was wrong,
# not the digit within the task.

# %%
run.plot_confusion_matrix()

# %%
confusion = run.confusion_matrix.sum(axis=0)
by_task = confusion.reshape(5, 2, 5, 2).sum(axis=(1, 3))
within = np.trace(by_task) - np.trace(confusion)
across = by_task.sum() - np.trace(by_task)
print(f"wrong task: {across:.0f} images, wrong digit of the right task: {within:.0f}")

# %% [markdown]
# The recency bias says whether the last task is predicted too often (above 0) or too seldom.
# Replay methods often prefer what they learned last. Here it is the other way round: later tasks
# lose votes to the first two.

# %%
run.plot_recency_bias()

# %% [markdown]
# ## What do the copies gain?
#
# Adaptation can only help once the task is known. So compare the task-aware accuracy of the adapted
# copies with that of the general model, after each task.

# %%
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
tasks = np.arange(stream.spec.num_tasks) + 1
lines = {
  "adapted copies": measured.task_aware_accuracy[..., -1],
  "general model": measured.plain_task_aware_accuracy,
}
for label, values in lines.items():
  axes.plot(tasks, 100 * values.mean(axis=0), marker="o", label=label)
axes.set(xlabel="after training task", ylabel="task-aware accuracy (%)", xticks=tasks)
axes.legend(frameon=False)
plt.show()

# %%
plain, voted = measured.plain_accuracy[:, -1].mean(), measured.accuracy[:, -1, -1].mean()
told = measured.task_aware_accuracy[:, -1, -1].mean()
general = measured.plain_task_aware_accuracy[:, -1].mean()
print(f"largest output of the general model: {plain:.1%}; votes of 50 and copies: {voted:.1%}")
print(f"task told: general model {general:.1%}, copies {told:.1%}")

# %% [markdown]
# On this stream nearly all of the gain is the vote's. Two digits are easy to tell apart, and the
# general model still does it well for old tasks, so the copies have little to repair. Streams with
# more classes a task leave them more. [docs/evaluation.md](../docs/evaluation.md) defines all
# figures.
