"""Runs of the continuum: what a method makes of them, in memory, streamed and of each length."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tagjax
from tagjax import metrics
from tagjax.core.chain import chain
from tagjax.core.method import identity

SIZES, LENGTHS = (34, 20), (1, 3, 7)


def a_task(task, size, seed):
  """Two classes that are easy to tell apart, of which each image alone does not say much."""
  rng = np.random.default_rng([seed, task])
  label = rng.integers(0, 2, size) + 2 * task
  means = 1.5 * np.random.default_rng(5).normal(size=(4, 6))
  image = (means[label] + 1.2 * rng.normal(size=(size, 6))).astype(np.float32)
  return image, label


@pytest.fixture(scope="module")
def stream():
  tasks = [(*a_task(task, 60, 0), *a_task(task, size, 1)) for task, size in enumerate(SIZES)]
  return tagjax.Stream.from_arrays("mine", tasks, scenario="class")


def voting(spec):
  """A run votes for its task; what it has decided is raised above the rest."""
  classes = jnp.asarray(spec.classes)

  def predict(served, *, at):
    logits, _ = at.apply_fn(served, at.batch)
    best = jnp.max(jnp.where(classes[None], logits[:, None], -1e9), axis=-1)
    learned = jnp.arange(spec.num_tasks) <= at.current_task
    votes = jnp.where(learned[None], best, -1e9) * at.batch.mask[:, None]
    of_runs = votes.reshape(-1, at.continuum, spec.num_tasks).sum(axis=1)
    chosen = jnp.repeat(jnp.argmax(of_runs, axis=-1), at.continuum)
    return jnp.where(classes[chosen], logits + 100, logits)

  voter = identity()._replace(predict=predict, name="voting")
  return chain(voter, tagjax.methods.er(spec, capacity=60), optax.sgd(0.05))


@pytest.fixture(scope="module")
def fit(stream):
  def fit(**options):
    model = tagjax.models.MLP(4, hidden=(8,))
    common = {"epochs": 6, "seeds": 2, "seed_axis": "loop", "progress": False}
    return tagjax.fit(stream, model, voting(stream.spec), **common, **options)

  return fit


@pytest.fixture(scope="module")
def detailed(fit, tmp_path_factory):
  options = {"continuum_lengths": LENGTHS, "top_k": 2, "confusion_matrix": True}
  return fit(**options, workdir=tmp_path_factory.mktemp("run"))


def test_a_length_among_others_is_that_length_alone(fit, detailed):
  alone = fit(continuum=3, eval_batch_size=3)
  measured = detailed.continuum
  assert measured.lengths.tolist() == list(LENGTHS)
  np.testing.assert_allclose(
    measured.accuracy[:, :, 1], metrics.incremental_accuracy(alone.accuracy, SIZES)
  )
  np.testing.assert_array_equal(
    alone.continuum.task_accuracy[..., 0], measured.task_accuracy[..., 1]
  )
  single = metrics.incremental_accuracy(detailed.accuracy, SIZES)
  np.testing.assert_allclose(measured.accuracy[:, :, 0], single)
  # Longer runs find the task more often; knowing it, the length makes no difference.
  assert (np.diff(measured.task_accuracy[:, -1].mean(axis=0)) > 0).all()
  assert (np.ptp(measured.task_aware_accuracy, axis=-1) == 0).all()
  assert (measured.accuracy <= measured.task_accuracy).all()


def test_what_was_counted_adds_up(detailed):
  images = np.cumsum(SIZES)
  measured, confusion = detailed.continuum, detailed.confusion_matrix
  assert confusion.shape == (2, 4, 4)
  np.testing.assert_array_equal(confusion.sum(axis=(1, 2)), images[-1])
  hits = np.trace(confusion, axis1=1, axis2=2)
  np.testing.assert_allclose(measured.accuracy[:, -1, 0], hits / images[-1])
  np.testing.assert_array_equal(detailed.predicted_tasks.sum(axis=-1), [images] * 2)
  of_tasks = confusion.sum(axis=1).reshape(2, 2, 2).sum(axis=-1)
  np.testing.assert_array_equal(detailed.predicted_tasks[:, -1], of_tasks)
  bias = of_tasks[:, 1] / images[-1] - SIZES[1] / images[-1]
  np.testing.assert_allclose(detailed.recency_bias[:, -1], bias)
  np.testing.assert_allclose(detailed.metric("recency_bias"), bias)
  np.testing.assert_array_equal(detailed.metric("task_accuracy"), measured.task_accuracy[:, -1, 0])
  assert detailed.metric("top_k_accuracy").tolist() == measured.top_k_accuracy[:, -1, 0].tolist()
  average = detailed.metric("average_incremental_accuracy")
  np.testing.assert_allclose(average, measured.accuracy[..., 0].mean(axis=1))
  assert detailed.results["definitions"]["top_k"] == 2


def test_the_pictures_are_in_the_folder(detailed, stream):
  names = {path.stem for path in detailed.folder.glob("*.png")}
  assert names >= {"continuum", "confusion_matrix", "recency_bias"}
  again = tagjax.report.run.Run.load(detailed.folder)
  np.testing.assert_array_equal(again.continuum.task_accuracy, detailed.continuum.task_accuracy)


def test_independent_networks_are_counted_each_on_its_own_task(fit):
  run = fit(continuum=3, protocol="independent", confusion_matrix=True)
  expected = metrics.incremental_accuracy(run.accuracy, SIZES)
  np.testing.assert_allclose(run.continuum.accuracy[..., 0], expected)
  assert run.confusion_matrix.sum() == 2 * sum(SIZES)
