"""Plots of one run: what they show, and that odd sizes work."""

import numpy as np
import pytest

from tagjax import metrics
from tagjax.report import drawing, growth_plots, plots

SIZES = [(1, 1), (1, 3), (2, 1), (4, 3), (20, 2)]


@pytest.mark.parametrize(("num_tasks", "num_seeds"), SIZES)
def test_all_pictures_of_all_sizes_are_written(tmp_path, make_results, num_tasks, num_seeds):
  results = make_results(num_tasks, num_seeds, alphas=True, grows=True)
  paths = plots.save_all(results, tmp_path)
  assert [path.name for path in paths] == [
    "accuracy_matrix.png",
    "accuracy_over_time.png",
    "forgetting.png",
    "task_relatedness.png",
    *["growth.png"] * (num_tasks > 1),  # one task does not grow
  ]
  for path in paths:
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_method_without_alphas_gives_three_pictures(tmp_path, make_results):
  assert len(plots.save_all(make_results(), tmp_path)) == 3
  with pytest.raises(ValueError, match="hold no task_relatedness"):
    plots.plot_task_relatedness(make_results())


def test_growth_stands_beside_accuracy(make_results):
  results = make_results(4, 3, grows=True)
  panels = growth_plots.plot_growth(results).axes
  means = [results["average_accuracy"]["mean"] * 100, 4.001, 16.004, 4e6]
  for axes, mean in zip(panels, means, strict=True):
    line = next(line for line in axes.lines if len(line.get_xdata()) == 4)
    assert line.get_ydata()[-1] == pytest.approx(mean)
  assert panels[1].get_ylabel() == "parameters in use (k)"
  with pytest.raises(ValueError, match="hold no growth"):
    growth_plots.plot_growth(make_results())


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
  assert axes.figure.get_suptitle() == "tag on permuted_digits\naccuracy (%), mean of 3 seeds"


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


def test_weights_have_logarithmic_colours_around_one(make_results):
  results = make_results(3, 1, alphas=True)
  results["task_relatedness"] = [[[None] * 3, [0.125, None, None], [1.0, 8.0, None]]]
  (image,) = plots.plot_task_relatedness(results).axes[0].images
  blue, white, red = (image.to_rgba(weight)[:3] for weight in (0.125, 1.0, 8.0))
  assert min(white) > 0.95
  assert blue[2] > blue[0] + 0.2
  assert red[0] > red[2] + 0.2
  # Ten of a kind do not hide the others: half a scale is half a logarithm.
  assert image.norm(8.0**0.5) == pytest.approx(0.75)


def test_weights_near_one_do_not_look_like_extremes(make_results):
  results = make_results(2, 1) | {"task_relatedness": [[[None, None], [1.01, None]]]}
  (image,) = plots.plot_task_relatedness(results).axes[0].images
  assert min(image.to_rgba(1.01)[:3]) > 0.9


def test_tasks_have_their_names_where_there_is_room(make_results):
  results = make_results(3, 2, alphas=True) | {"task_names": ["cats", "dogs", "birds"]}
  named = ["1: cats", "2: dogs", "3: birds"]
  axes = plots.plot_accuracy_matrix(results).axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == named
  axes = plots.plot_accuracy_over_time(results).axes[0]
  assert [text.get_text() for text in axes.get_legend().get_texts()] == [*named, "average so far"]
  axes = plots.plot_forgetting(results).axes[0]
  assert [label.get_text() for label in axes.get_xticklabels()] == named[:2]
  axes = plots.plot_task_relatedness(results).axes[0]
  assert [label.get_text() for label in axes.get_xticklabels()] == named[:2]
  long = make_results(2, 1) | {"task_names": ["of many letters " * 3, "cats"]}
  axes = plots.plot_accuracy_matrix(long).axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]


def test_no_title_is_cut_off(make_results, sweep_results):
  sweep_results["config"] |= {"benchmark": "split_of_something_with_a_very_long_name_indeed_it_is"}
  sweep_results["config"]["sweep"] = {"tag.b": [1]}
  sweep_results |= {"points": sweep_results["points"][:1], "chosen": {"tag.b": 1}}
  results = make_results(2, 2, alphas=True, benchmark="b" * 70)
  figures = [
    plots.plot_sweep(sweep_results),
    plots.plot_accuracy_matrix(results),
    plots.plot_task_relatedness(results),
    plots.plot_forgetting(results),
  ]
  for figure in figures:
    figure.draw_without_rendering()
    (title,) = (text for text in figure.texts if text.get_text() == figure.get_suptitle())
    extent = title.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.width


def test_a_plot_shows_itself_in_a_notebook_without_a_backend(make_results):
  figure = plots.plot_forgetting(make_results())
  data, size = figure._repr_png_()
  assert data.startswith(b"\x89PNG")
  assert size == {"width": 480, "height": 380}


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
  title = axes.figure.get_suptitle()
  assert "mean of 2 seeds" in title
  assert "at the best epochs\n(framed: chosen)" in title


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


def test_a_search_shows_the_ended_points_over_each_key_and_rings_the_choice(sweep_results):
  config = sweep_results["config"]
  space = {
    "learning_rate": "0.01..1.0,log",
    "tag.b": "1..9",
    "epochs": [20, 1],
    "mlp.hidden": [[8]],
  }
  points = [
    point | {"values": point["values"] | {"mlp.hidden": (8,)}} for point in sweep_results["points"]
  ]
  chosen = sweep_results["chosen"] | {"mlp.hidden": [8]}
  results = sweep_results | {"config": {**config, "search": space}, "points": points}
  figure = plots.plot_search(results | {"chosen": chosen})
  used = [axes for axes in figure.axes if axes.axison]
  assert [axes.get_xlabel() for axes in used] == list(space)
  assert [axes.get_xscale() for axes in used] == ["log", *["linear"] * 3]
  for axes, places in zip(used, ([0.1] * 6, [1, 1, 5, 5, 9, 9], [1, 0] * 3, [0] * 6), strict=True):
    shown, ringed = axes.collections
    assert shown.get_offsets()[:, 0].tolist() == places
    assert shown.get_offsets()[:, 1].tolist() == pytest.approx([50, 51, 60, 61, 50, 51])
    assert ringed.get_offsets().tolist() == [[places[3], pytest.approx(61)]]
  assert [label.get_text() for label in used[2].get_xticklabels()] == ["20", "1"]
  title = figure.get_suptitle()
  assert "6 points on validation examples, mean of 2 seeds; 6 diverged or were given up" in title
  lost = [point | {"average_accuracy": None} for point in points]
  nothing = plots.plot_search(results | {"points": lost, "chosen": None})
  assert not any(len(axes.collections) > 1 for axes in nothing.axes)


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_file_is_replaced_and_a_link_not_followed(tmp_path, suffix):
  target = tmp_path / "precious"
  target.write_text("keep me")
  path = tmp_path / f"plot.{suffix}"
  path.symlink_to(target)
  drawing.new_plot(1, 1).savefig(path)
  assert target.read_text() == "keep me"
  assert path.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF"}[suffix]
  assert {entry.name for entry in tmp_path.iterdir()} == {"precious", path.name}
