"""Plots of several runs: what they show, for few and for many."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from tagjax.report import comparison_plots
from tagjax.report.drawing import series_look

SIZES = [(1, 1), (1, 3), (2, 1), (4, 3), (20, 2)]


@pytest.mark.parametrize(("num_tasks", "num_seeds"), SIZES)
def test_the_comparison_shows_each_method(tmp_path, make_results, num_tasks, num_seeds):
  runs = {
    name: make_results(num_tasks, num_seeds, random_seed=seed, method=name)
    for seed, name in enumerate(["tag", "rmsprop", "sgd", "adam", "adagrad"])
  }
  figure = comparison_plots.plot_comparison(runs)
  figure.savefig(tmp_path / "comparison.png")
  left, right = figure.axes
  assert [text.get_text() for text in left.get_legend().get_texts()] == list(runs)
  lines = {line.get_label(): line for line in left.lines}
  for name, results in runs.items():
    line = lines[name]
    assert line.get_ydata()[-1] == pytest.approx(100 * results["average_accuracy"]["mean"])
  heights = [bar.get_height() for bar in right.patches]
  if num_tasks > 1:
    means = [100 * results["forgetting"]["mean"] for results in runs.values()]
    assert heights == pytest.approx(means)
  else:
    assert heights == []


def test_more_methods_than_colours_can_be_told_apart(make_results):
  runs = {f"method {number}": make_results(3, 2, random_seed=number) for number in range(15)}
  figure = comparison_plots.plot_comparison(runs)
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  left, right = figure.axes
  lines = left.lines[: len(runs)]
  looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
  assert len(looks) == len(runs)
  renderer = canvas.get_renderer()
  legend = left.get_legend().get_window_extent(renderer)
  assert legend.x0 >= left.get_window_extent(renderer).x1
  names = [label.get_window_extent(renderer) for label in right.get_xticklabels()]
  assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(names))


def test_a_comparison_of_nothing_is_refused():
  with pytest.raises(ValueError, match="at least one"):
    comparison_plots.plot_comparison({})


def test_many_methods_have_all_different_colours_and_no_bands(make_results):
  assert len({series_look(index)["color"] for index in range(16)}) == 16
  assert len({tuple(series_look(index).values()) for index in range(32)}) == 32
  runs = {f"method {number}": make_results(3, 3, random_seed=number) for number in range(9)}
  figure = comparison_plots.plot_comparison(runs)
  left, right = figure.axes
  bars = [patch.get_facecolor() for patch in right.patches]
  assert len(set(bars)) == 9
  assert len(left.collections) == 0
  assert figure.get_suptitle().endswith("mean; error bars: 95 % confidence interval")
  few = comparison_plots.plot_comparison({"one": make_results(3, 3)})
  assert few.get_suptitle().endswith("mean and 95 % interval")
  assert len(few.axes[0].collections) == 1


def two_seeds(make_results, losses):
  """Two tasks, two seeds, of which the first task falls from 0.95 by these losses."""
  matrices = [[[0.95, None], [0.95 - loss, 0.9]] for loss in losses]
  return make_results(2, 2) | {"accuracy_matrix": matrices}


def test_intervals_end_where_the_metric_does(make_results):
  runs = {"wild": two_seeds(make_results, [0.1, 0.9])}
  left, right = comparison_plots.plot_comparison(runs).axes
  (band,) = left.collections
  heights = band.get_paths()[0].vertices[:, 1]
  assert heights.min() >= 0
  assert heights.max() <= 100
  (lines,) = right.collections
  low, high = lines.get_segments()[0][:, 1]
  # Student's t with one degree of freedom: 50 ± 508 points.
  assert 50 + stats.t.ppf(0.975, 1) * np.std([10, 90], ddof=1) / 2**0.5 == pytest.approx(
    558.2, abs=1
  )
  assert (low, high) == pytest.approx((-100, 100))
  # Most of it is cut off: the axis shows what the seeds did.
  assert right.get_ylim() == pytest.approx((-13.5, 101))
  _, right = comparison_plots.plot_comparison(runs, definition="tag").axes
  assert right.collections[0].get_segments()[0][0, 1] == pytest.approx(0)


def test_costs_have_two_bars_a_run(make_results):
  results = {
    name: make_results(method=name) | {"bytes": {"total": size}}
    for name, size in (("sgd", 100), ("agem", 350))
  }
  axes = comparison_plots.plot_costs(results).axes[0]
  heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
  assert heights == [[1.0, 1.0], [1.0, 3.5]]
  longer = {f"{name} over a joint embedding": one for name, one in results.items()}
  for runs, rotation in ((results, 0), (longer, 90)):
    labels = comparison_plots.plot_costs(runs).axes[0].get_xticklabels()
    assert {label.get_rotation() for label in labels} == {rotation}
  with pytest.raises(ValueError, match="a run of sgd must be among them"):
    comparison_plots.plot_costs({"agem": results["agem"]})


def test_final_accuracies_are_those_of_the_last_row(make_results):
  runs = {name: make_results(3, 2, random_seed=seed) for seed, name in enumerate(["tag", "sgd"])}
  runs["tag"]["task_names"] = runs["sgd"]["task_names"] = ["a", "b", "c"]
  axes = comparison_plots.plot_final_accuracy(runs).axes[0]
  expected = [
    100 * np.mean([one[-1] for one in run["accuracy_matrix"]], 0) for run in runs.values()
  ]
  np.testing.assert_allclose(axes.images[0].get_array(), expected)
  assert [label.get_text() for label in axes.get_yticklabels()] == ["tag", "sgd"]
  assert [label.get_text() for label in axes.get_xticklabels()] == ["1: a", "2: b", "3: c"]
  runs["sgd"] = make_results(2, 2) | {"task_names": ["b", "a"]}
  axes = comparison_plots.plot_final_accuracy(runs).axes[0]
  assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
  assert axes.images[0].get_array().mask.tolist() == [[False] * 3, [False, False, True]]


def test_plasticity_against_stability(make_results):
  runs = {name: make_results(3, 3, random_seed=seed) for seed, name in enumerate(["tag", "sgd"])}
  axes = comparison_plots.plot_plasticity_stability(runs).axes[0]
  for container, results in zip(axes.containers, runs.values(), strict=True):
    point, _, (across, up) = container
    x = 100 * results["learning_accuracy"]["mean"]
    y = 100 * results["forgetting"]["mean"]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx((x, y))
    width = 100 * results["learning_accuracy"]["ci95"]
    ends = [max(x - width, 0), min(x + width, 100)]
    np.testing.assert_allclose(across.get_segments()[0][:, 0], ends)
    assert up.get_segments()[0][0, 1] < y
  low, high = axes.get_ylim()
  assert low > high  # less forgetting is up


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_differences_have_a_dot_a_seed_and_an_interval(num_seeds):
  per_seed = [0.1, 0.2, 0.3][:num_seeds]
  ci95 = 0.248 if num_seeds == 3 else np.nan
  rows = [{"run": "tag", "difference": np.mean(per_seed), "ci95": ci95, "per_seed": per_seed}]
  axes = comparison_plots.plot_differences(rows, reference="sgd", metric="forgetting").axes[0]
  assert axes.lines[0].get_xdata() == pytest.approx([10, 20, 30][:num_seeds])
  assert axes.get_xlabel() == "forgetting, difference in points"
  if num_seeds == 3:
    ((low, high),) = (lines.get_segments()[0][:, 0] for lines in axes.collections)
    assert (low, high) == pytest.approx((-4.8, 44.8))
