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
# # Gradient projection: A-GEM and GEM by hand
#
# A step that helps the new task may undo what an old one needs. A-GEM and GEM keep a few exemplars
# of the old tasks, look at the gradient there, and bend the new gradient until it no longer
# disagrees. With two parameters all of it can be drawn.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from tagjax.transforms.gem_dual import solve_gem_dual
from tagjax.transforms.projection import agem_project, gem_project


def rounded(vector):
  return np.asarray(vector, float).round(4)


# %% [markdown]
# ## Two gradients that disagree
#
# The **reference** gradient comes from exemplars of old tasks, the **new** one from the current
# batch. Each is the direction in which its loss rises; a step goes the opposite way.

# %%
reference = jnp.array([0.0193, 0.0019])
new = jnp.array([-0.1614, -1.6141])
inner = new @ reference
print(f"inner product: {inner:.6f}")

# %% [markdown]
# It is negative: a step against the new gradient raises the loss of the old tasks.
#
# ## A-GEM
#
# The part of the new gradient along the reference is taken out:
#
# $$g' = g - \frac{\langle g, r \rangle}{\langle r, r \rangle}\, r \quad
# \text{if } \langle g, r \rangle < 0, \text{ else } g' = g.$$

# %%
square = reference @ reference
by_hand = new - inner / square * reference
projected = agem_project(new, reference)
print("by hand:      ", rounded(by_hand))
print("agem_project: ", rounded(projected))
print(f"inner product now: {projected @ reference:.1e}")

# %% [markdown]
# The reference is very short, and it does not matter: only its direction counts. (In the picture
# it is drawn 40 times as long.) Shaded are all gradients that do not disagree with the reference, a
# half-plane. The projected gradient is the point of it that is nearest to the new one, so it lies
# on the edge.


# %%
def draw_arrow(axes, vector, color, label):
  x, y = np.asarray(vector)
  style = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
  axes.annotate("", xy=(x, y), xytext=(0, 0), arrowprops=style)
  axes.plot([], [], color=color, lw=2, label=label)


def draw_allowed(axes, normals, limit=2.2):
  """Shades the gradients that have no negative inner product with any of the normals."""
  line = np.linspace(-limit, limit, 500)
  points = np.stack(np.meshgrid(line, line), axis=-1)
  allowed = (points @ np.asarray(normals, float).T >= 0).all(axis=-1)
  axes.contourf(line, line, allowed, levels=[0.5, 1.5], colors=["tab:green"], alpha=0.15)
  axes.axhline(0, color="0.8", lw=0.8, zorder=0)
  axes.axvline(0, color="0.8", lw=0.8, zorder=0)
  axes.set(aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))


def draw_move(axes, start, end):
  axes.plot(*np.stack([start, end], axis=1), ":", color="0.4", lw=1.5)


figure, axes = plt.subplots(figsize=(5, 5))
draw_allowed(axes, [reference])
draw_move(axes, new, projected)
draw_arrow(axes, 40 * reference, "tab:green", "reference (40 times)")
draw_arrow(axes, new, "tab:red", "new")
draw_arrow(axes, projected, "tab:blue", "projected")
axes.set_title("A-GEM: the nearest gradient in the half-plane")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# Projecting again changes nothing, and a new gradient that agrees is left alone to the last bit.

# %%
print("again:  ", rounded(agem_project(projected, reference)))
print("agreeing:", bool((agem_project(-new, reference) == -new).all()))

# %% [markdown]
# ## GEM: one constraint for each old task
#
# A-GEM asks that the *mean* loss of the old tasks does not rise; one of them may still pay for
# another. GEM has one gradient for each old task and asks that none of them disagrees. Now the
# allowed gradients are where the half-planes overlap, a wedge.

# %%
tasks = jnp.array([[1.0, 0.3], [-0.4, 1.0]])
new = jnp.array([1.6, -0.8])
print("new against task 0 and 1:         ", rounded(tasks @ new))

averaged = agem_project(new, tasks.mean(axis=0))
print("A-GEM, mean of both, against them:", rounded(tasks @ averaged))

# %% [markdown]
# A-GEM lets task 0 make up for task 1, which still loses. GEM adds a multiple of each task's
# gradient,
#
# $$g' = g + \sum_k v_k\, g_k,$$
#
# where the weights $v \ge$ `margin` solve a quadratic program with one variable for each task. The
# margin (0.5 in the paper) goes beyond what is needed, in favour of the old tasks: with margin 0
# only task 1, which disagrees, gets a weight; with 0.5 both do. The -0.001 that is left comes from
# a small constant on the diagonal (`eps`), which keeps the weights finite when old tasks contradict
# one another.

# %%
gram = tasks @ tasks.T + 1e-3 * jnp.eye(2)
for margin in (0.0, 0.5):
  weights = solve_gem_dual(gram, tasks @ new, margin=margin)
  found = gem_project(new, tasks, margin=margin)
  print(f"margin {margin}: weights", rounded(weights), "against:", rounded(tasks @ found))

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 5))
results = {"A-GEM": averaged, "GEM, margin 0": gem_project(new, tasks, margin=0.0)}
for axes, (name, found) in zip(panels, results.items(), strict=True):
  draw_allowed(axes, tasks)
  draw_move(axes, new, found)
  draw_arrow(axes, tasks[0], "tab:green", "task 0")
  draw_arrow(axes, tasks[1], "tab:olive", "task 1")
  draw_arrow(axes, new, "tab:red", "new")
  draw_arrow(axes, found, "tab:blue", "projected")
  axes.set_title(name)
  axes.legend(loc="upper left")
plt.show()
