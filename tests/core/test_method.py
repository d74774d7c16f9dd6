"""What `lift` makes of an Optax transformation."""

import jax.numpy as jnp
import optax

from tagjax.core.method import Step, lift

AT = Step(*[None] * len(Step._fields))._replace(task_id=jnp.int32(3))


def test_a_restarted_state_holds_no_buffer_of_the_parameters():
  params = {"w": jnp.ones(2)}
  anchored = optax.GradientTransformation(lambda params: params, None)
  (leaf,) = lift(anchored).restart(None, params).values()
  assert leaf is not params["w"]
  assert leaf.tolist() == [1.0, 1.0]


def test_transformations_get_the_inner_task():
  told = optax.GradientTransformationExtraArgs(
    lambda params: (), lambda updates, state, params, *, task_id, **extra: (task_id, state)
  )
  assert lift(told).update(None, (), None, at=AT)[0] == 3
  assert lift(told).update(None, (), None, at=AT._replace(inner_task=jnp.int32(1)))[0] == 1
