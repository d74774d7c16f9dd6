"""TAG's state lies on the devices as its parameters do; a step moves none of it."""

import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tagjax.transforms import Columns, scale_by_tag, tag

T = 3
TASKS = (0, 0, 1, 1, 2, 0)
# Sharded along the first, a middle, the last axis, and none.
SPECS = {
  "first": PartitionSpec("x"),
  "middle": PartitionSpec(None, "x"),
  "last": PartitionSpec(None, None, "x"),
  "whole": PartitionSpec(),
}
SHAPES = {"first": (8, 3), "middle": (5, 8, 2), "last": (2, 3, 8), "whole": (3,)}


def gradients(step):
  keys = jax.random.split(jax.random.key(step), len(SHAPES))
  return {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, SHAPES.items(), strict=True)}


def place(tree, mesh):
  return {name: jax.device_put(x, NamedSharding(mesh, SPECS[name])) for name, x in tree.items()}


def make_mesh(devices, kind):
  return Mesh(np.array(jax.devices()[:devices]), ("x",), axis_types=(kind,))


def updater(transform, **options):
  return jax.jit(lambda g, s, t: transform.update(g, s, task_id=t), **options)


@functools.cache
def on_one_device(accumulator_dtype):
  """The updates of all steps."""
  transform = scale_by_tag(T, base="adam", accumulator_dtype=accumulator_dtype)
  state, found, update = transform.init(gradients(0)), [], updater(transform)
  for step, task in enumerate(TASKS):
    updates, state = update(gradients(step), state, jnp.int32(task))
    found.append(updates)
  return found


def moments(state):
  """Trees like the parameters, with the number of axes in front."""
  exact = () if state.current is None else state.current[1:]
  return [(state.first_moment, 1), (state.second_moment, 1), *((tree, 0) for tree in exact)]


def check_shardings(state, mesh):
  for tree, axes in moments(state):
    for name, leaf in tree.items():
      expected = NamedSharding(mesh, PartitionSpec(*[None] * axes, *SPECS[name]))
      assert leaf.sharding.is_equivalent_to(expected, leaf.ndim), (name, leaf.sharding)
      parts = mesh.size if name != "whole" else 1
      assert {shard.data.size for shard in leaf.addressable_shards} == {leaf.size // parts}


def check_run(devices, kind, accumulator_dtype):
  mesh = make_mesh(devices, kind)
  transform = scale_by_tag(T, base="adam", accumulator_dtype=accumulator_dtype)
  state = transform.init(place(gradients(0), mesh))
  check_shardings(state, mesh)
  args = place(gradients(0), mesh), state, jnp.int32(0)
  update = updater(transform, donate_argnums=1).lower(*args).compile()
  moved = re.findall(r"(\S+) = \S+ (all-gather|all-to-all|collective-permute)", update.as_text())
  assert not moved
  for step, task in enumerate(TASKS):
    updates, state = update(place(gradients(step), mesh), state, jnp.int32(task))
    check_shardings(state, mesh)
    for name, ours in updates.items():
      expected = on_one_device(accumulator_dtype)[step][name]
      np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
      assert ours.sharding.is_equivalent_to(NamedSharding(mesh, SPECS[name]), ours.ndim)


@pytest.mark.parametrize(
  ("kind", "accumulator_dtype"), [(AxisType.Auto, "bfloat16"), (AxisType.Explicit, "float32")]
)
def test_on_a_mesh_of_four(kind, accumulator_dtype):
  check_run(4, kind, accumulator_dtype)


def test_on_a_mesh_of_eight():
  flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
  options = {"XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
  subprocess.run([sys.executable, __file__], env={**os.environ, **options}, check=True)


def test_compiled_init_and_a_loop_on_explicit_axes():
  mesh = make_mesh(4, AxisType.Explicit)
  transform = tag(0.1, T)

  @jax.jit
  def run(grads):
    state = transform.init(grads)
    step = lambda _, state: transform.update(grads, state, task_id=jnp.int32(1))[1]  # noqa: E731
    return jax.lax.fori_loop(0, 2, step, state)

  with jax.set_mesh(mesh):
    state = run(place(gradients(0), mesh))
  check_shardings(state[0], mesh)
  np.testing.assert_array_equal(state[0].count, [0, 2, 0])


@pytest.mark.parametrize(
  ("accumulator_dtype", "check_vma"), [("float32", False), ("bfloat16", True)]
)
def test_in_shard_map(accumulator_dtype, check_vma):
  mesh = make_mesh(4, AxisType.Auto)
  transform = scale_by_tag(T, base="adam", accumulator_dtype=accumulator_dtype, axis_name="x")
  state = transform.init(gradients(0))
  specs = optax.tree_map_params(
    transform,
    lambda leaf, p, spec: PartitionSpec(*[None] * (leaf.ndim - p.ndim), *spec),
    state,
    gradients(0),
    SPECS,
    transform_non_params=lambda _: PartitionSpec(),
  )
  update = jax.jit(
    jax.shard_map(
      lambda g, s, t: transform.update(g, s, task_id=t),
      mesh=mesh,
      in_specs=(SPECS, specs, PartitionSpec()),
      out_specs=(SPECS, specs),
      check_vma=check_vma,
    )
  )
  for step, task in enumerate(TASKS):
    updates, state = update(gradients(step), state, jnp.int32(task))
    for name, expected in on_one_device(accumulator_dtype)[step].items():
      np.testing.assert_allclose(updates[name], expected, rtol=1e-3, atol=1e-5)
  check_shardings(state, mesh)


def test_in_pmap_each_device_has_its_part():
  transform = scale_by_tag(T, base="adam", axis_name="devices")
  parts = lambda g: g.reshape(4, 2, 3)  # noqa: E731
  state = jax.pmap(transform.init, devices=jax.devices()[:4])(parts(gradients(0)["first"]))
  update = jax.pmap(
    lambda g, s, t: transform.update(g, s, task_id=t),
    axis_name="devices",
    in_axes=(0, 0, None),
    devices=jax.devices()[:4],
  )
  for step, task in enumerate(TASKS):
    updates, state = update(parts(gradients(step)["first"]), state, jnp.int32(task))
    expected = on_one_device("float32")[step]["first"]
    np.testing.assert_allclose(updates.reshape(8, 3), expected, rtol=1e-3, atol=1e-5)


def test_axis_name_or_columns():
  with pytest.raises(ValueError, match="give axis_name if parameters are sharded, or columns"):
    tag(0.1, T, axis_name="x", columns=Columns("x", 2))


def test_the_state_is_restored_to_its_devices(tmp_path):
  mesh = make_mesh(4, AxisType.Auto)
  transform = tag(0.1, T, accumulator_dtype="bfloat16")
  params = place(gradients(0), mesh)
  _, state = updater(transform)(params, transform.init(params), jnp.int32(1))
  shardings = optax.tree_map_params(
    transform,
    lambda leaf, p: NamedSharding(
      mesh, PartitionSpec(*[None] * (leaf.ndim - p.ndim), *p.sharding.spec)
    ),
    state,
    params,
    transform_non_params=lambda _: NamedSharding(mesh, PartitionSpec()),
  )
  like = jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
    jax.eval_shape(transform.init, params),
    shardings,
  )
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "state", state)
    checkpointer.wait_until_finished()
    back = checkpointer.restore(tmp_path / "state", like)
  jax.tree.map(np.testing.assert_array_equal, back, state)
  check_shardings(back[0], mesh)


if __name__ == "__main__":
  for mesh_kind in (AxisType.Auto, AxisType.Explicit):
    check_run(8, mesh_kind, "float32")
