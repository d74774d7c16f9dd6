"""Parameters of two tensors as one vector: bowls are written down for the vector."""

import jax.numpy as jnp
import numpy as np


def tree(flat):
  return {"w": jnp.asarray(flat[:3], jnp.float32), "b": {"c": jnp.asarray(flat[3:], jnp.float32)}}


def flat(values):
  return np.concatenate([values["w"], values["b"]["c"]]).astype(np.float64)
