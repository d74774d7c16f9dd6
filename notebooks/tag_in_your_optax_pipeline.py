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
# # TAG in an Optax pipeline of your own
#
# `tagjax.tag` is a gradient transformation like any other. The only thing it asks for is the
# number of the task, as the keyword `task_id` of `update`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import tagjax

# %% [markdown]
# Three regression tasks on the same inputs. The second is the first turned around; the third is
# something else.

# %%
key = jax.random.key(0)
inputs = jax.random.normal(key, (256, 8))
first = jnp.arange(1.0, 9.0) / 8
targets = [inputs @ first, -inputs @ first, inputs @ jnp.roll(first, 3)]


def loss_fn(params, target):
  return jnp.mean((inputs @ params["w"] + params["b"] - target) ** 2)


# %% [markdown]
# ## The loop
#
# Clip the gradient, then TAG. `task_id` is traced: one compilation serves all tasks.

# %%
optimizer = optax.chain(optax.clip_by_global_norm(1.0), tagjax.tag(1e-3, num_tasks=3, b=5.0))
params = {"w": jnp.zeros(8), "b": jnp.zeros(())}
state = optimizer.init(params)


@jax.jit
def step(params, state, target, task_id):
  loss, grads = jax.value_and_grad(loss_fn)(params, target)
  updates, state = optimizer.update(grads, state, params, task_id=task_id)
  return optax.apply_updates(params, updates), state, loss


for task_id, target in enumerate(targets):
  for _ in range(200):
    params, state, loss = step(params, state, target, task_id)
  relatedness = np.round(tagjax.task_relatedness(state)["w"][:task_id], 3)
  print(f"task {task_id}: loss {loss:.4f}, weights of the earlier tasks for w: {relatedness}")

# %% [markdown]
# ## Other optimizers around and inside it
#
# The base may be `"rmsprop"`, `"adagrad"` or `"adam"`. A schedule may take the learning rate's
# place, and `optax.masked` keeps TAG away from some parameters.

# %%
schedule = optax.cosine_decay_schedule(1e-3, decay_steps=600)
optimizer = optax.chain(
  optax.masked(tagjax.tag(schedule, num_tasks=3, base="adam"), {"w": True, "b": False}),
  optax.masked(optax.set_to_zero(), {"w": False, "b": True}),
)
state = optimizer.init(params)
grads = jax.grad(loss_fn)(params, targets[0])
updates, state = optimizer.update(grads, state, params, task_id=0)
print(jax.tree.map(jnp.shape, updates), "bias moves:", bool(updates["b"] != 0))

# %% [markdown]
# The bare statistic, without the learning rate, is `tagjax.scale_by_tag`:

# %%
optimizer = optax.chain(
  tagjax.scale_by_tag(num_tasks=3, base="adagrad"),
  optax.scale(-1e-3),
)
state = optimizer.init(params)
updates, state = optimizer.update(grads, state, params, task_id=0)
print(jax.tree.map(lambda u: np.round(u, 5), updates))
