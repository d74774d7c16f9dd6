"""metrics.jsonl as frames, and its plots."""

import numpy as np
import pytest

from tagjax.report import growth_plots, log_plots
from tagjax.report.metrics_log import diagnostics, monitored, read_log, training_curve
from tagjax.storage.json_files import ResultsError


def loss_row(seed, task, epoch, step, loss):
  place = {"seed": seed, "task": task, "phase": "train", "epoch": epoch}
  return place | {"step": step, "loss": loss, "accuracy": 0.5}


# Two seeds that go side by side; two tasks of 25 and 5 steps, two epochs of the first.
LOG = [
  {"seed": 1, "task": 0, "begun": True},
  *(
    loss_row(seed, task, epoch, step, loss + seed)
    for task, epoch, step, loss in (
      (0, 0, 20, 4.0),
      (0, 0, 25, 3.0),
      (0, 1, 20, 2.0),
      (0, 1, 25, 1.0),
      (1, 0, 5, 6.0),
    )
    for seed in (1, 2)
  ),
  {"seed": 1, "task": 0, "accuracy_after_task": [0.9, None]},
]


def weight_rows(num_tasks, tensors=3, seeds=(1, 2)):
  """TAG's weights: 2**tensor of the first earlier task, its inverse of the others."""
  rows = []
  for seed in seeds:
    for task in range(num_tasks):
      row = [
        [(2.0**tensor if other == 0 else 0.5**tensor) for other in range(task)]
        + [None] * (num_tasks - task)
        for tensor in range(tensors)
      ]
      rows.append({"seed": seed, "task": task, "phase": "train", "task_relatedness": row})
  return rows


def test_steps_are_counted_over_the_whole_stream():
  curve = training_curve(LOG)
  assert curve["seed"].tolist() == [1, 2] * 5
  for _, one in curve.groupby("seed"):
    assert one["total_step"].tolist() == [20, 25, 45, 50, 55]
    assert one["step"].tolist() == [20, 25, 20, 25, 5]
  assert curve["loss"].tolist()[:4] == [5, 6, 4, 5]


def test_what_a_method_tells_is_counted_from_the_start_of_each_task():
  rows = [{**row, "monitored": {"posterior": [0.25, row["loss"]]}} for row in LOG if "loss" in row]
  told = monitored([*LOG[:1], *rows, *LOG[-1:]], "posterior")
  one = told[(told["seed"] == 2) & (told["entry"] == 1)]
  assert one["task"].tolist() == [0] * 4 + [1]
  assert one["step"].tolist() == [20, 25, 45, 50, 5]
  assert one["value"].tolist() == [6.0, 5.0, 4.0, 3.0, 8.0]
  figure = growth_plots.plot_monitored({"outcomes": {"shared_layers": [[[1.0], [0.0]]]}}, told)
  panels = figure.axes[:2]
  assert [len(axes.lines) for axes in panels] == [2, 2]
  assert [line.get_label() for line in panels[0].lines] == ["F", "T"]  # the larger one first
  assert panels[0].lines[0].get_ydata().tolist() == [5.5, 4.5, 3.5, 2.5]
  with pytest.raises(ValueError, match="holds no 'posterior'"):
    growth_plots.plot_monitored({}, monitored(LOG, "posterior"))


def test_a_second_visit_of_a_task_goes_on_counting():
  rows = [loss_row(1, task, 0, 5, 1.0) for task in (0, 1, 0, 1)]
  assert training_curve(rows)["total_step"].tolist() == [5, 10, 15, 20]


def test_a_log_without_losses_is_empty_and_can_be_drawn():
  curve = training_curve(LOG[:1])
  assert curve.empty
  axes = log_plots.plot_loss({}, curve).axes[0]
  assert axes.texts[0].get_text() == "the log holds no loss"


def test_diagnostics_are_long_and_named():
  frame = diagnostics(weight_rows(3, tensors=2, seeds=[7]), "task_relatedness", ["bias", "kernel"])
  assert frame[["task", "tensor_name", "other_task", "value"]].values.tolist() == [
    [1, "bias", 0, 1.0],
    [1, "kernel", 0, 2.0],
    [2, "bias", 0, 1.0],
    [2, "bias", 1, 1.0],
    [2, "kernel", 0, 2.0],
    [2, "kernel", 1, 0.5],
  ]
  assert set(frame["seed"]) == {7}


@pytest.mark.parametrize("names", [None, ["kernel"]])
def test_tensors_without_names_are_numbered(names):
  frame = diagnostics(weight_rows(2, tensors=2), "task_relatedness", names)
  assert frame["tensor_name"].unique().tolist() == ["tensor 1", "tensor 2"]


def test_a_diagnostic_of_one_value_a_tensor():
  frame = diagnostics([{"seed": 1, "task": 0, "norm": [1.0, 2.0]}], "norm")
  assert frame["value"].tolist() == [1, 2]
  assert frame["other_task"].isna().all()


def test_the_loss_is_drawn_for_each_seed_and_as_their_mean():
  axes = log_plots.plot_loss({"task_names": ["cats", "dogs"]}, training_curve(LOG)).axes[0]
  one, two, mean, *ends = axes.lines
  assert one.get_ydata().tolist() == [5, 4, 3, 2, 7]
  assert two.get_ydata().tolist() == [6, 5, 4, 3, 8]
  assert mean.get_ydata().tolist() == [5.5, 4.5, 3.5, 2.5, 7.5]
  assert mean.get_xdata().tolist() == [20, 25, 45, 50, 55]
  assert [line.get_xdata()[0] for line in ends] == [50, 55]
  assert [text.get_text() for text in axes.texts] == ["1: cats", "2: dogs"]
  assert [text.xy[0] for text in axes.texts] == [25, 52.5]


def test_weights_of_each_layer_over_time():
  rows = weight_rows(3)
  # Seeds that oppose each other and agree as much cancel out: means of logarithms.
  rows[1]["task_relatedness"][2][0], rows[4]["task_relatedness"][2][0] = 8.0, 0.125
  figure = log_plots.plot_layer_weights({}, diagnostics(rows, "task_relatedness", list("abc")))
  axes = figure.axes[0]
  # While training task 2: of task 1. While training task 3: of tasks 1 and 2.
  np.testing.assert_allclose(axes.images[0].get_array(), [[1, 1, 1], [2, 2, 0.5], [1, 4, 0.25]])
  assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
  assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "1", "2"]
  image = axes.images[0]
  assert min(image.to_rgba(1.0)[:3]) > 0.95
  assert image.norm(4.0) == pytest.approx(1)
  assert image.norm(0.25) == pytest.approx(0)
  assert "mean of 2 seeds" in figure.get_suptitle()


def test_weights_of_many_tasks_are_means_over_the_earlier_ones():
  weights = diagnostics(weight_rows(12, tensors=2), "task_relatedness")
  figure = log_plots.plot_layer_weights({}, weights)
  shown = figure.axes[0].images[0].get_array()
  assert shown.shape == (2, 11)
  # Of n earlier tasks one has the weight 2, the others 1/2.
  np.testing.assert_allclose(shown[1], [2.0 ** ((2 - n) / n) for n in range(1, 12)])
  assert "mean over earlier tasks" in figure.get_suptitle()


def test_weights_of_another_method_are_refused():
  with pytest.raises(ValueError, match="the method is not TAG"):
    log_plots.plot_layer_weights({}, diagnostics(LOG, "task_relatedness"))


def test_a_missing_or_broken_log_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  with pytest.raises(ResultsError, match=r"there is no .*metrics\.jsonl"):
    read_log(path)
  path.write_text('{"seed": 1}\n{"seed":\n')
  with pytest.raises(ResultsError, match=r"line 2 of .*metrics\.jsonl is not JSON"):
    read_log(path)
