"""Plots of learning curves: what they show, of one run and of several."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tagjax.report import compare, curve_plots, plots
from tagjax.report.comparison import comparison_rows
from tagjax.report.results import summarise
from tagjax.report.run import Run
from tagjax.report.runs import Runs
from tagjax.storage.json_files import ResultsError

CURVES = np.random.default_rng(3).uniform(0.2, 0.9, (3, 4, 6))


@pytest.fixture
def begun(make_results):
  """Results of runs whose learning curves were recorded."""

  def begun(num_seeds=3, beta=5, **config):
    results = make_results(4, num_seeds, **config)
    curves = CURVES[:num_seeds, :, : beta + 1].tolist()
    curves[0][1] = curves[0][1][:3]  # a task of two minibatches
    made = summarise(results["accuracy_matrix"], curves=curves, beta=beta)
    return results | made

  return begun


def lines(figure):
  return {line.get_label(): line for line in figure.axes[0].lines}


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_first_minibatches_are_averaged_over_tasks(begun, num_seeds):
  results = begun(num_seeds)
  figure = curve_plots.plot_learning_curves({"tag": results})
  line = lines(figure)["tag"]
  np.testing.assert_array_equal(line.get_xdata(), range(6))
  expected = CURVES[:num_seeds].copy()
  expected[0, 1, 3:] = expected[0, 1, 2]
  np.testing.assert_allclose(line.get_ydata(), 100 * expected.mean(axis=(0, 1)))
  assert len(figure.axes[0].collections) == (num_seeds > 1)  # a band
  zero = lines(curve_plots.plot_zero_shot({"tag": results}))["tag"]
  np.testing.assert_array_equal(zero.get_xdata(), [1, 2, 3, 4])
  np.testing.assert_allclose(zero.get_ydata(), 100 * expected[..., 0].mean(axis=0))


def test_several_runs_are_told_apart(begun):
  runs = Runs([Run(begun(method=name)) for name in ("tag", "agem", "er")])
  for figure in (runs.plot_learning_curves(), runs.plot_zero_shot()):
    found = lines(figure)
    assert list(found) == ["tag", "agem", "er"]
    assert len({to_hex(line.get_color()) for line in found.values()}) == 3
    assert figure.axes[0].get_legend() is not None
    assert "3 seeds" in figure.get_suptitle()


def test_a_run_has_the_plots_that_its_curves_allow(begun, make_results, tmp_path):
  names = [path.stem for path in plots.save_all(begun(), tmp_path)]
  assert names[-2:] == ["zero_shot", "learning_curve"]
  assert list(curve_plots.plots_of(begun(beta=0))) == ["zero_shot"]
  assert curve_plots.plots_of(make_results()) == {}
  run = Run(begun())
  assert run.learning_curves.shape == (3, 4, 6)
  assert np.isnan(run.learning_curves[0, 1, 3:]).all()
  assert run.plot_zero_shot().axes
  assert run.plot_learning_curve().axes
  assert Run(make_results()).learning_curves is None
  with pytest.raises(ResultsError, match="of er hold no learning curves: set learning_curve_batch"):
    curve_plots.plot_zero_shot({"tag": begun(), "er": make_results()})
  with pytest.raises(ResultsError, match="at least one run"):
    curve_plots.plot_learning_curves({})


def test_the_comparison_has_columns_and_pictures_of_them(begun, make_results, tmp_path, capsys):
  runs = {"tag": begun(), "er": make_results(method="er")}
  tag, er = comparison_rows(runs, "agem")
  mean = 100 * runs["tag"]["zero_shot_accuracy"]["mean"]
  assert tag["zero-shot accuracy (%)"].startswith(f"{mean:.1f} ± ")
  assert "learning curve area (%)" in tag
  assert er["zero-shot accuracy (%)"] == "–"  # noqa: RUF001
  Run(begun()).save(tmp_path / "tag")
  files = [tmp_path / "curves.png", tmp_path / "zero.png"]
  options = [f"--learning-curves={files[0]}", f"--zero-shot={files[1]}"]
  assert compare.main([str(tmp_path / "tag"), *options]) == 0
  assert all(file.stat().st_size > 1000 for file in files)
  Run(make_results()).save(tmp_path / "without")
  assert compare.main([str(tmp_path / "without"), *options]) == 1
  assert "hold no learning curves" in capsys.readouterr().err
