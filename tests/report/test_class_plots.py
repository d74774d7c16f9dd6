"""Plots of class-incremental runs: what they show, and when they are there."""

import numpy as np
import pytest

from tagjax.report import class_plots, plots
from tagjax.report.continuum import continuum_of


def test_only_what_was_measured_is_drawn(tmp_path, make_results, counted):
  assert class_plots.plots_of(make_results()) == {}
  names = [path.stem for path in plots.save_all(counted(), tmp_path)]
  assert names[-3:] == ["continuum", "confusion_matrix", "recency_bias"]
  assert list(class_plots.plots_of(counted(lengths=(1,)))) == ["confusion_matrix", "recency_bias"]
  assert continuum_of(make_results()) is None
  for plot in (
    class_plots.plot_continuum,
    class_plots.plot_confusion_matrix,
    class_plots.plot_recency_bias,
  ):
    with pytest.raises(ValueError, match="the results hold no"):
      plot(make_results())


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_curves_are_means_over_seeds_at_the_end(counted, num_seeds):
  results = counted(num_seeds)
  axes = class_plots.plot_continuum(results).axes[0]
  lines = {line.get_label(): line for line in axes.lines}
  for name in ("accuracy", "task_accuracy"):
    line = lines[name.replace("_", " ")]
    np.testing.assert_array_equal(line.get_xdata(), [1, 3, 7])
    values = np.array(results["continuum"][name])[:, -1].mean(axis=0)
    np.testing.assert_allclose(line.get_ydata(), 100 * values)
  level = 100 * results["plain_accuracy"]["mean"]
  np.testing.assert_allclose(lines["plain accuracy"].get_ydata(), level)
  assert len(axes.collections) == (2 if num_seeds > 1 else 0)  # bands


def test_confusions_are_shares_of_the_class_in_the_order_of_the_tasks(counted):
  results = counted() | {"task_classes": [[3, 0], [2, 1]]}
  axes = class_plots.plot_confusion_matrix(results).axes[0]
  total = np.array(results["confusion_matrix"]).sum(axis=0)
  total = total[[3, 0, 2, 1]][:, [3, 0, 2, 1]]
  shown = axes.images[0].get_array()
  np.testing.assert_allclose(shown, 100 * total / total.sum(axis=1, keepdims=True))
  assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "0", "2", "1"]
  assert [line.get_xdata()[0] for line in axes.lines[1::2]] == [1.5]


def test_many_classes_have_no_numbers(counted):
  results = counted() | {
    "confusion_matrix": [np.eye(30).tolist()],
    "task_classes": [range(15), range(15, 30)],
  }
  axes = class_plots.plot_confusion_matrix(results).axes[0]
  assert not axes.texts


def test_shares_and_bias_are_those_of_the_counts(counted):
  results = counted()
  left, right = class_plots.plot_recency_bias(results).axes
  predicted = np.array(results["predicted_tasks"])[:, -1]
  shares = (predicted / predicted.sum(axis=1, keepdims=True)).mean(axis=0)
  np.testing.assert_allclose([bar.get_height() for bar in left.patches], 100 * shares)
  assert right.lines[0].get_ydata()[-1] == pytest.approx(100 * results["recency_bias"]["mean"])
