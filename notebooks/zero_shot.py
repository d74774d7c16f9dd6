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
# # What is known of a class that was never seen?
#
# A joint embedding does not learn an output for each class. It learns what *attributes* look like,
# and a class is a row of attributes. So it has an answer for classes that no training example has
# shown. Here the classes are letters and digits, drawn in the fonts of matplotlib on first use.
# Nothing is downloaded, and it takes less than half a minute.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd

import tagjax
from tagjax.datasets.builders.glyphs import ATTRIBUTES

# %% [markdown]
# ## Characters and their attributes
#
# Each task has four characters, of which the test shows fonts that no training example has.

# %%
stream = tagjax.load_benchmark("split_glyphs", class_order="seeded", num_tasks=12)
names = {output: name for task in stream.class_names for output, name in task.items()}
figure, axes = plt.subplots(2, len(stream), figsize=(9, 1.8), layout="constrained")
for task, column in zip(stream, axes.T, strict=True):
  for number, panel in enumerate(column):
    row = 160 * number + 50
    panel.imshow(task.train.image[row, ..., 0], cmap="gray")
    panel.set_title(names[task.train.label[row]], fontsize=9)
    panel.axis("off")
plt.show()

# %% [markdown]
# The attributes were written down by hand: 27 numbers for each character.

# %%
shown = pd.DataFrame(stream.spec.attributes, columns=list(ATTRIBUTES)).rename(index=names)
shown.iloc[:6, :15]

# %% [markdown]
# ## Zero-shot accuracy along the stream
#
# Each task is evaluated before its first minibatch, over its own four classes: chance is 25 %.
# Three networks learn by plain SGD: with an output for each class, with a joint embedding, and, as
# a control, with a joint embedding of the same attributes given to the wrong classes.

# %%
net = tagjax.models.MLP(stream.spec.num_outputs, hidden=(256, 128))
models = {
  "an output for each class": net,
  "joint embedding": tagjax.models.joint_embedding(net, spec=stream.spec),
  "attributes of other classes": tagjax.models.joint_embedding(
    net, spec=stream.spec, shuffle_attributes=0
  ),
}
runs = tagjax.Runs(
  [
    tagjax.fit(
      stream,
      model,
      optax.sgd(0.1),
      learning_curve_batches=10,
      progress=False,
    ).renamed(name)
    for name, model in models.items()
  ]
)
figures = ["zero_shot_accuracy", "learning_curve_area", "average_accuracy"]
(100 * runs.metrics().set_index("run")[figures].astype(float)).round(1)

# %%
runs.plot_zero_shot()

# %% [markdown]
# At first the joint embedding knows nothing: its matrix is random. The more characters it has seen,
# the better it guesses new ones. The control shows that it is the meaning of the attributes that
# helps, and not their number. In the next plot all tasks have just begun: the joint embedding has a
# start, and the others catch up within some minibatches.

# %%
runs.plot_learning_curves()

# %% [markdown]
# At the end of the stream the outputs for each class are as good as the joint embedding, or better.
# What is gained is gained before and at the beginning of a task.

# %% [markdown]
# ## What the network reads in an image
#
# A logit is the product of a row of attributes and the vector $W \varphi(x)$, which has one number
# for each attribute: how much the network believes the image to have it. To look at these numbers,
# a network learns the first eleven tasks in a loop of our own, all mixed. It never sees the four
# characters of the last task.

# %%
model = tagjax.models.joint_embedding(net, spec=stream.spec)
seen = [task.train for task in stream][:-1]
image = jnp.asarray(np.concatenate([part.image for part in seen]) / 255, jnp.float32)
label = jnp.asarray(np.concatenate([part.label for part in seen]))
optimizer = optax.sgd(0.1)
STEPS, BATCH = 1500, 32


def call(rows):
  return {"task_id": jnp.zeros(rows, jnp.int32), "mask": jnp.ones(rows, bool), "train": False}


variables = model.init(jax.random.key(0), image[:1], **call(1))
order = jax.random.randint(jax.random.key(1), (STEPS, BATCH), 0, len(label))


def loss(params, rows):
  logits = model.apply({**variables, "params": params}, image[rows], **call(BATCH))
  return optax.softmax_cross_entropy_with_integer_labels(logits, label[rows]).mean()


def step(carry, rows):
  params, state = carry
  updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
  return (optax.apply_updates(params, updates), state), None


@jax.jit
def train(params):
  return jax.lax.scan(step, (params, optimizer.init(params)), order)[0][0]


learned = {**variables, "params": train(variables["params"])}

# %% [markdown]
# Of the images of each unseen character, the attributes in which the network believes most,
# compared with characters that it has seen:


# %%
def believed(pixels):
  phi = model.apply(learned, pixels, features=True, **call(len(pixels)))
  return np.asarray(phi @ learned["params"]["embedding"].T)


unseen = stream[len(stream) - 1].test
pixels = jnp.asarray(unseen.image / 255, jnp.float32)
usual, belief = believed(image[::20]).mean(axis=0), believed(pixels)
rows = {}
for output in np.unique(unseen.label):
  more = belief[unseen.label == output].mean(axis=0) - usual
  has = stream.spec.attributes[output] > 0
  most = [
    ATTRIBUTES[place].upper() if has[place] else ATTRIBUTES[place] for place in np.argsort(-more)
  ]
  rows[names[output]] = ", ".join(most[:5])
pd.set_option("display.max_colwidth", None)
pd.DataFrame({"believed most, in capitals what the character has": rows}).rename_axis("character")

# %% [markdown]
# So the four are told apart without a single example of any:

# %%
logits = np.asarray(model.apply(learned, pixels, **call(len(pixels))))
own = np.unique(unseen.label)
answer = own[np.argmax(logits[:, own], axis=1)]
confusion = np.array([[np.mean(answer[unseen.label == a] == b) for b in own] for a in own])
figure, axes = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
axes.imshow(confusion, vmin=0, vmax=1, cmap="Blues")
for (row, column), value in np.ndenumerate(confusion):
  color = "white" if value > 0.6 else "black"
  axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=color)
axes.set(xlabel="answer", ylabel="unseen character (% of its images)")
axes.set_xticks(range(4), [names[output] for output in own])
axes.set_yticks(range(4), [names[output] for output in own])
plt.show()

# %%
print(f"right: {np.mean(answer == unseen.label):.0%} of {len(answer)} images; chance is 25 %")

# %% [markdown]
# Among all characters the answer is harder, because the seen ones were trained to win. The rank of
# the true character, of 48, says what is left:

# %%
rank = 1 + (logits > logits[np.arange(len(logits)), unseen.label][:, None]).sum(axis=1)
pd.Series(rank).groupby([names[output] for output in unseen.label]).median()

# %% [markdown]
# [docs/zero_shot.md](../docs/zero_shot.md) has the equations, streams with attributes, and figures
# over several seeds.
