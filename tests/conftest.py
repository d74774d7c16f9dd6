"""Settings of the whole suite: strict numerics and several CPU devices."""

import chex
import jax

# Before anything touches a device: the data parallel tests need four of them.
chex.set_n_cpu_devices(4)

# A silent broadcast of ranks is the commonest way for a wrong formula to run.
jax.config.update("jax_numpy_rank_promotion", "raise")
