"""LASEM and DARTS on a network of two layers, small enough to write each configuration out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.core.method import Boundary, Step
from tagjax.core.types import Batch
from tagjax.methods import darts, lasem
from tagjax.methods.lasem import configurations

TASK = jnp.int32(1)
NAMES = ("conv0", "conv1")
RNG = np.random.default_rng(0)
BATCH = Batch(
  jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32),
  jnp.array([0, 1, 1, 0, 1]),
  jnp.full(5, 1),
  jnp.array([True, True, True, True, False]),
)


def parameters(seed=0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  shapes = {"conv0": (3, 4), "conv1": (4, 2)}
  return {
    name: {"shared": {"w": draw(*shape)}, "task": {"w": draw(2, *shape)}}
    for name, shape in shapes.items()
  }


def network(params, image, row, mixture=None):
  """Logits of one configuration."""
  x = image
  for layer, name in enumerate(NAMES):
    shared, own = params[name]["shared"]["w"], params[name]["task"]["w"][TASK]
    if mixture is not None:
      x = mixture[layer, 0] * jnp.tanh(x @ own) + mixture[layer, 1] * jnp.tanh(x @ shared)
    else:
      x = jnp.tanh(x @ jnp.where(row[layer], shared, own))
  return x


def apply_fn(variables, batch, *, key=None, train=False):
  del key, train
  params, routing = variables["params"], variables["routing"]
  own = routing["sharing"][TASK]
  rows = [jnp.where(row < 0, own, row == 1) for row in routing["candidates"]]
  out = [network(params, batch.image, row, routing.get("mixture")) for row in rows]
  return jnp.stack(out), variables


def step_of(params, routing=None):
  variables = {"params": params, "routing": routing or {"sharing": jnp.ones((2, 2), bool)}}

  def grad_fn(params, batch, *, variables=None, loss_fn=None, key=None, train=None):
    del key, train
    all_variables = {**at.variables, **(variables or {})}

    def loss(params):
      return loss_fn(apply_fn({**all_variables, "params": params}, batch)[0], batch)

    return jax.value_and_grad(loss)(params)

  at = Step(*[None] * len(Step._fields))._replace(
    task_id=TASK,
    batch=BATCH,
    variables=variables,
    grad_fn=grad_fn,
    apply_fn=apply_fn,
    active_fn=lambda batch: jnp.ones((len(batch.label), 2), bool),
    gather=lambda tree: tree,
    key=jax.random.key(0),
  )
  return at


BOUNDARY = Boundary(*[None] * len(Boundary._fields))._replace(task_id=TASK)


def losses(params, row, mixture=None):
  """Cross-entropies of the valid rows."""
  chosen = jax.nn.log_softmax(network(params, BATCH.image, row, mixture))
  return -jnp.take_along_axis(chosen, BATCH.label[:, None], 1)[:4, 0]


def updated(method, params, state, routing=None):
  return method.update(None, state, params, at=step_of(params, routing))


def expected(params, prior, rows, product=False):
  """Posterior and gradient, one configuration after another."""
  values = [np.asarray(losses(params, row), np.float64) for row in rows]
  likelihood = np.array([np.exp(-v.sum()) if product else np.exp(-v).mean() for v in values])
  posterior = prior * likelihood / np.sum(prior * likelihood)
  gradients = [jax.grad(lambda p, row=row: losses(p, row).mean())(params) for row in rows]
  weighted = [
    jax.tree.map(lambda g, q=q: q * g, g) for q, g in zip(posterior, gradients, strict=True)
  ]
  return posterior, jax.tree.map(lambda *parts: sum(parts), *weighted)


def close(ours, theirs):
  for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


ROWS = configurations(2).rows


def test_the_first_layer_varies_fastest_and_shared_comes_first():
  assert ROWS.tolist() == [[True, True], [False, True], [True, False], [False, False]]
  grouped = configurations(3, groups=(2, 1)).rows
  assert grouped.tolist() == [[True] * 3, [False, False, True], [True, True, False], [False] * 3]


@pytest.mark.parametrize(
  ("options", "rows"),
  [
    ({}, ROWS),
    ({"likelihood": "product"}, ROWS),
    ({"at_once": 2}, ROWS),
    ({"at_once": 1}, ROWS),
    ({"groups": (2,)}, ROWS[[0, 3]]),
    ({"candidates": ("top-1", "all", "none")}, ROWS[[1, 0, 3]]),
    ({"candidates": ("bottom-1",)}, ROWS[[2]]),
  ],
)
def test_two_steps_are_the_sum_over_all_configurations(options, rows):
  method, params = lasem(**options), parameters()
  state = method.init(params)
  product = options.get("likelihood") == "product"
  posterior, gradient = expected(params, np.full(len(rows), 1 / len(rows)), rows, product)
  updates, state = updated(method, params, state)
  close(updates, gradient)
  close(state.prior, posterior)
  second, gradient = expected(params, posterior, rows, product)
  updates, state = updated(method, params, state)
  close(updates, gradient)
  close(state.prior, (posterior + second) / 2)


def test_the_prior_counts():
  method, params = lasem(prior="count"), parameters()
  _, state = updated(method, params, method.init(params))
  posterior, _ = expected(params, np.full(4, 0.25), ROWS)
  close(state.prior, (np.ones(4) + np.eye(4)[np.argmax(posterior)]) / 5)


def test_the_prior_starts_anew_with_each_epoch():
  method, params = lasem(reset_prior=True, steps_per_epoch=(9, 2)), parameters()
  state = method.init(params)
  seen = []
  for _ in range(3):
    _, state = updated(method, params, state)
    seen.append(np.asarray(state.posterior))
  np.testing.assert_array_equal(seen[0], seen[2])
  assert (seen[0] != seen[1]).any()


def test_a_fixed_posterior():
  method, params = lasem(fixed="top-1", fixed_probability=0.7), parameters()
  _, state = updated(method, params, method.init(params))
  close(state.posterior, np.array([0.1, 0.7, 0.1, 0.1]))


def test_no_probability_at_all_leaves_the_prior():
  method, params = lasem(), jax.tree.map(jnp.zeros_like, parameters())
  at = step_of(params)
  at = at._replace(active_fn=lambda batch: jnp.arange(2)[None, :] != batch.label[:, None])
  _, state = method.update(None, method.init(params), params, at=at)
  close(state.posterior, np.full(4, 0.25))


def test_the_end_of_a_task_chooses_and_rolls_back():
  method, before, after = lasem(), parameters(0), parameters(1)
  state = method.init(before)._replace(prior=jnp.array([0.1, 0.4, 0.4, 0.1]))  # the first of equals
  variables = {"params": after, "routing": {"sharing": jnp.ones((2, 2), bool)}}
  served = method.prepare(state, variables, at=BOUNDARY)
  assert served["routing"]["sharing"].tolist() == [[True, True], [False, True]]
  outcome = {"shared_layers": np.array([0.0, 1.0]), "configuration_probability": np.float32(0.4)}
  close(method.outcome(state, TASK), outcome)
  close(method.monitor(state), {"posterior": np.full(4, 0.25), "prior": state.prior})
  state, variables = method.consolidate(state, variables, at=BOUNDARY)
  params = variables["params"]
  close(params["conv0"]["shared"], before["conv0"]["shared"])
  close(params["conv1"]["shared"], after["conv1"]["shared"])
  close(params["conv0"]["task"], after["conv0"]["task"])
  assert variables["routing"]["sharing"].tolist() == [[True, True], [False, True]]
  assert state.chosen.tolist() == [-1, 1]
  close(state.prior, np.full(4, 0.25))

  # The same task again: an ordinary gradient in its configuration, and no choice.
  updates, again = updated(method, params, state, variables["routing"])
  close(updates, jax.grad(lambda p: losses(p, ROWS[1]).mean())(params))
  again = again._replace(prior=jnp.array([1.0, 0.0, 0.0, 0.0]))
  again, variables = method.consolidate(again, variables, at=BOUNDARY)
  assert again.chosen.tolist() == [-1, 1]
  close(method.outcome(again, TASK), outcome)
  assert variables["routing"]["sharing"].tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"groups": (1,)}, r"groups=\(1,\) has 1 layers: the sizes must add up to the 2 layers"),
    ({"groups": (0, 2)}, "groups must be an integer of at least 1, got 0"),
    ({"groups": (1, 1), "candidates": ("all",)}, "candidates excludes groups"),
    ({"candidates": ("top-9",)}, "candidates: sharing='top-9' names more layers than the 2"),
    ({"candidates": ()}, "names no configuration"),
    ({"fixed": "bottm-1"}, "fixed: sharing='bottm-1' is unknown .did you mean bottom-1"),
    ({"fixed": "top-1", "groups": (2,)}, "fixed='top-1' is not one of the 2 configurations"),
    ({"candidates": ("all",), "at_once": 2}, "at_once=2 divides all configurations"),
    ({"likelihood": "median"}, "likelihood must be one of 'mean', 'product'"),
    ({"reset_prior": True}, "reset_prior=True needs steps_per_epoch"),
    ({"orthogonality": -1.0}, "orthogonality must be a number in"),
  ],
)
def test_what_lasem_cannot_do_is_one_line(options, message):
  with pytest.raises(ValueError, match=message) as error:
    lasem(**options).init(parameters())
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("options", "number", "at_once", "convolutions", "kept"),
  [
    # Two beginnings of the first layer, four of the second; 100 and 30 numbers of each image.
    ({}, 4, "", 2 + 4, 2 * 100 + 4 * 30),
    ({"at_once": 2}, 4, ", 2 at once", 2 * (1 + 2), 1 * 100 + 2 * 30),
    ({"groups": (2,)}, 2, "", 2 + 2, 2 * 100 + 2 * 30),
    ({"candidates": ("all", "top-1", "none")}, 3, "", 2 + 3, 2 * 100 + 3 * 30),
  ],
)
def test_the_cost_of_a_step_is_foreseen(options, number, at_once, convolutions, kept):
  cost = lasem(**options).cost(parameters(), [100, 30], 5)
  assert cost.bytes == 4 * 5 * kept
  assert cost.text == (
    f"{number} configurations of 2 layers{at_once}: each of two passes of a step computes "
    f"{convolutions} convolutions (one configuration after another {2 * number})"
  )
  assert "lasem.at_once" in cost.way_out
  assert lasem(**options).cost(parameters(), [], 5).bytes == 0


def test_too_many_configurations_name_groups_as_the_way_out():
  with pytest.raises(ValueError, match=r"131,072 configurations.*such as groups=\(5, 4, 4, 4\)"):
    configurations(17)


def test_darts_learns_the_logits_first_and_the_parameters_at_the_new_ones():
  method, params = darts(learning_rate=0.5), parameters()
  state = method.init(params)

  def loss(params, logits):
    return losses(params, None, jax.nn.softmax(logits, axis=1)).mean()

  logits, squares = np.zeros((2, 2)), np.ones((2, 2))
  for _ in range(2):
    gradient = np.asarray(jax.grad(loss, 1)(params, jnp.asarray(logits, jnp.float32)), np.float64)
    squares = 0.9 * squares + 0.1 * gradient**2
    logits -= 0.5 * gradient / np.sqrt(squares + 1e-10)
    updates, state = updated(method, params, state)
    close(state.logits, logits)
    close(updates, jax.grad(loss)(params, jnp.asarray(logits, jnp.float32)))


def test_darts_chooses_the_heavier_kind_and_rolls_back():
  method, before, after = darts(decay=1.0, steps_per_epoch=(4, 2)), parameters(0), parameters(1)
  state = method.init(before)
  state = state._replace(logits=jnp.array([[0.2, 0.1], [0.1, 0.2]]), steps=jnp.int32(4))
  variables = {"params": after, "routing": {"sharing": jnp.ones((2, 2), bool)}}
  state, variables = method.consolidate(state, variables, at=BOUNDARY)
  close(variables["params"]["conv0"]["shared"], before["conv0"]["shared"])
  close(variables["params"]["conv1"]["shared"], after["conv1"]["shared"])
  assert variables["routing"]["sharing"].tolist() == [[True, True], [False, True]]
  assert state.learned.tolist() == [False, True]
  close(method.outcome(state, TASK), {"shared_layers": np.array([0.0, 1.0])})
  close(method.monitor(state), {"mixture": np.full(2, 0.5)})
  assert int(state.epochs) == 2
  assert not state.logits.any()
  updates, again = updated(method, variables["params"], state, variables["routing"])
  own = jax.grad(lambda p: losses(p, ROWS[1]).mean())(variables["params"])
  close(updates, own)
  assert not again.logits.any()


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_rate_of_the_logits_decays_by_epochs_of_the_stream(epoch):
  params = parameters()
  slow = darts(learning_rate=0.5, decay=1.0, steps_per_epoch=(4, 2))
  state = slow.init(params)._replace(epochs=jnp.int32(2), steps=jnp.int32(2 * epoch))
  _, found = updated(slow, params, state)
  plain = darts(learning_rate=0.5 / (3 + epoch))
  _, wanted = updated(plain, params, plain.init(params))
  close(found.logits, wanted.logits)


def test_every_row_is_another_one():
  every = configurations(5).rows.tolist()
  assert sorted(every) == sorted(map(list, itertools.product((False, True), repeat=5)))
