"""Pictures: what they show, and that odd sizes work."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tagjax import metrics
from tagjax.report import plots

SIZES = [(1, 1), (1, 3), (2, 1), (4, 3), (20, 2)]


@pytest.mark.parametrize(("num_tasks", "num_seeds"), SIZES)
def test_all_pictures_of_all_sizes_are_written(tmp_path, make_results, num_tasks, num_seeds):
  paths = plots.save_all(make_results(num_tasks, num_seeds, alphas=True), tmp_path)
  assert [path.name for path in paths] == [
    "accuracy_matrix.png",
    "accuracy_over_time.png",
    "forgetting.png",
    "task_relatedness.png",
  ]
  for path in paths:
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_method_without_alphas_gives_three_pictures(tmp_path, make_results):
  assert len(plots.save_all(make_results(), tmp_path)) == 3
  with pytest.raises(ValueError, match="hold no task_relatedness"):
    plots.plot_task_relatedness(make_results())


def test_the_matrix_shows_means_over_seeds_and_leaves_the_rest_empty(make_results):
  results = make_results(4, 3)
  axes = plots.plot_accuracy_matrix(results).axes[0]
  mean = 100 * np.array(results["accuracy_matrix"], float).mean(axis=0)
  shown = axes.images[0].get_array()
  np.testing.assert_allclose(shown.filled(np.nan), mean)
  assert sorted(text.get_text() for text in axes.texts) == sorted(
    f"{value:.0f}" for value in mean[np.tri(4, dtype=bool)]
  )
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("evaluated on task", "after training task")
  assert axes.get_title() == "tag on permuted_digits\naccuracy (%), mean of 3 seeds"


def test_future_tasks_are_shown_where_they_were_evaluated(make_results):
  results = make_results(2, 1) | {"accuracy_matrix": [[[0.9, 0.2], [0.8, 0.9]]]}
  axes = plots.plot_accuracy_matrix(results).axes[0]
  assert sorted(text.get_text() for text in axes.texts) == ["20", "80", "90", "90"]


def test_lines_over_time_start_where_the_task_was_learned(make_results):
  results = make_results(4, 3)
  axes = plots.plot_accuracy_over_time(results).axes[0]
  mean = 100 * np.array(results["accuracy_matrix"], float).mean(axis=0)
  for task in range(4):
    line = next(line for line in axes.lines if line.get_label() == f"task {task + 1}")
    np.testing.assert_array_equal(line.get_xdata(), np.arange(task, 4) + 1)
    np.testing.assert_allclose(line.get_ydata(), mean[task:, task])
  average = next(line for line in axes.lines if line.get_label() == "average so far")
  assert average.get_ydata()[-1] == pytest.approx(100 * results["average_accuracy"]["mean"])
  assert axes.get_ylim()[0] <= np.nanmin(mean)


def test_bars_of_forgetting_are_those_of_the_metric(make_results):
  results = make_results(4, 3)
  axes = plots.plot_forgetting(results).axes[0]
  expected = 100 * metrics.forgetting_per_task(results["accuracy_matrix"]).mean(axis=0)
  np.testing.assert_allclose([bar.get_height() for bar in axes.patches], expected)
  assert "definition: agem" in axes.get_ylabel()
  assert axes.texts[0].get_text() == f"mean {100 * results['forgetting']['mean']:.1f}"


def test_relatedness_shows_earlier_tasks_only(make_results):
  results = make_results(3, 2, alphas=True)
  axes = plots.plot_task_relatedness(results).axes[0]
  alphas = np.array(results["task_relatedness"])[0]
  assert [text.get_text() for text in axes.texts] == [
    f"{alphas[row, column]:.2f}" for row, column in ((1, 0), (2, 0), (2, 1))
  ]
  assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "3"]
  assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]


@pytest.mark.parametrize(("num_tasks", "num_seeds"), SIZES)
def test_the_comparison_shows_each_method(tmp_path, make_results, num_tasks, num_seeds):
  runs = {
    name: make_results(num_tasks, num_seeds, random_seed=seed, method=name)
    for seed, name in enumerate(["tag", "rmsprop", "sgd", "adam", "adagrad"])
  }
  figure = plots.plot_comparison(runs)
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
  figure = plots.plot_comparison(runs)
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
    plots.plot_comparison({})


def test_no_global_state_of_matplotlib(make_results):
  from matplotlib import _pylab_helpers

  plots.plot_accuracy_over_time(make_results())
  assert _pylab_helpers.Gcf.get_all_fig_managers() == []


def test_a_grid_shows_the_best_over_further_keys_and_frames_the_choice(sweep_results):
  axes = plots.plot_sweep(sweep_results).axes[0]
  assert axes.images[0].get_array().filled(np.nan)[0] == pytest.approx([51, 61, 51])
  assert axes.images[0].get_array().mask.tolist() == [[False] * 3, [True] * 3]
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("tag.b", "learning_rate")
  assert [label.get_text() for label in axes.get_yticklabels()] == ["0.1", "1e+10"]
  assert [patch.get_xy() for patch in axes.patches] == [(0.5, -0.5)]
  assert "at the best epochs" in axes.get_title()


@pytest.mark.parametrize("keys", [["learning_rate"], []])
def test_grids_of_one_key_and_of_one_point(sweep_results, keys):
  sweep = {key: sweep_results["config"]["sweep"][key] for key in keys} | {"tag.b": [1]}
  point = sweep_results["points"][0]
  results = sweep_results | {
    "config": sweep_results["config"] | {"sweep": sweep},
    "points": [point],
    "chosen": point["values"],
  }
  axes = plots.plot_sweep(results).axes[0]
  assert axes.images[0].get_array().shape == (1, 2 if keys else 1)
  assert axes.get_xlabel() == (keys[0] if keys else "")
  assert len(axes.patches) == 1
