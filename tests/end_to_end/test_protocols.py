"""The bounds: all tasks in rounds, together, or each with a network of its own."""

import numpy as np
import pytest

from tagjax.config.run import run_config
from tagjax.config.validate import validate
from tagjax.core.errors import ConfigError


def run(tiny, folder, **changes):
  config = tiny(learning_rate=0.3, epochs=4, mlp__hidden=(32,), **changes)
  results = run_config(config, folder, progress=False).results
  return results, np.asarray(results["accuracy_matrix"], np.float64)[0]


def test_joint_training_sees_every_task_and_is_evaluated_once(tiny, tmp_path):
  results, matrix = run(tiny, tmp_path, protocol="joint", train_examples_per_task=200)
  assert np.isnan(matrix[0]).all()
  assert np.isfinite(matrix[1]).all()
  assert (matrix[1] > 0.2).all()  # chance is 0.1
  assert results["forgetting"]["mean"] is None
  # Both tasks' 200 examples, in batches of 10, in each of two epochs.
  log = (tmp_path / "metrics.jsonl").read_text()
  assert '"step": 40' in log


def test_multitask_rounds_are_one_stream_repeated(tiny, tmp_path):
  one, first = run(tiny, tmp_path / "one", protocol="multitask", cycles=1)
  sequential, matrix = run(tiny, tmp_path / "sequential")
  np.testing.assert_array_equal(first[1], matrix[1])
  assert np.isnan(first[0]).all()
  _, second = run(tiny, tmp_path / "two", protocol="multitask", cycles=2)
  assert (second[1] != first[1]).any()
  assert one["average_accuracy"] == sequential["average_accuracy"]


def test_independent_networks_know_nothing_of_each_other(tiny, tmp_path):
  results, matrix = run(tiny, tmp_path / "two", protocol="independent", plots=True)
  np.testing.assert_array_equal(matrix[1, 0], matrix[0, 0])
  assert results["forgetting"]["mean"] == 0
  assert results["average_accuracy"] == results["learning_accuracy"]
  # The first network is the one that the stream begins with, the second is another.
  _, sequential = run(tiny, tmp_path / "stream")
  assert matrix[0, 0] == sequential[0, 0]
  _, longer = run(tiny, tmp_path / "longer", protocol="independent", evaluate_future_tasks=True)
  np.testing.assert_array_equal(np.tril(longer), np.nan_to_num(matrix))


def test_a_fresh_optimizer_forgets_its_moments(tiny, tmp_path):
  _, fresh = run(tiny, tmp_path / "fresh", method="adagrad", fresh_optimizer=True)
  _, kept = run(tiny, tmp_path / "kept", method="adagrad")
  assert fresh[0, 0] == kept[0, 0]
  assert (fresh[1] != kept[1]).any()


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    ({"protocol": "joint", "method": "ewc"}, "leaves ewc nothing to protect"),
    ({"protocol": "independent", "method": "tag"}, "leaves tag no past tasks"),
    ({"protocol": "joint", "learning_curve_batches": 3}, "learns no task by itself"),
    ({"fresh_optimizer": True, "method": "tag_adam"}, "would delete what tag_adam knows"),
    ({"protocol": "rounds"}, "config.protocol='rounds' is unknown"),
  ],
)
def test_bounds_without_meaning_are_refused(tiny, changes, reason):
  with pytest.raises(ConfigError, match=reason):
    validate(tiny(**changes))
