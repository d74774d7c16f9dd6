"""A run goes on from its own checkpoints only, and `verify` finds what does not fit together."""

import json
import pathlib
import shutil

import numpy as np
import optax
import pytest

from tagjax import Stream, fit, models, sweep
from tagjax import verify as checking
from tagjax.core.errors import WorkdirError
from tagjax.storage import checkpoint
from tagjax.storage.workdir import digest_of
from tagjax.training import fingerprint, provenance


def stream(changed=False, **options):
  chance = np.random.default_rng(0)
  image = chance.normal(size=(3, 12, 4)).astype(np.float32)
  label = np.arange(12) % 2
  if changed:
    image[-1, -1, -1] += 1
  tasks = [(one, label, one[:4], label[:4]) for one in image]
  return Stream.from_arrays("mine", tasks, scenario="domain", **options)


MODEL = models.MLP(2, hidden=(4,))
SETTINGS = {"batch_size": 4, "checkpoint_every": 1, "plots": False, "progress": False}


def run(workdir, examples=None, **changes):
  method = changes.pop("method", optax.sgd(0.1))
  return fit(examples or stream(), MODEL, method, workdir=workdir, **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  folder = tmp_path_factory.mktemp("whole") / "run"
  run(folder)
  return folder


@pytest.fixture
def unfinished(ended, tmp_path):
  """The same folder before its end."""
  folder = tmp_path / "run"
  shutil.copytree(ended, folder)
  (folder / "results.json").unlink()
  newest = max(checkpoint.inspect(folder / "checkpoints")).position
  shutil.rmtree(folder / "checkpoints" / str(newest))
  return folder


def outcome(folder):
  results = json.loads((folder / "results.json").read_text())
  return results["accuracy_matrix"], (folder / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
  ("changes", "key"),
  [
    ({"seed": 5}, "config.seed is 1 there and 5 here"),
    ({"epochs": 2}, "config.epochs is 1 there and 2 here"),
    ({"evaluate_future_tasks": True}, "config.evaluate_future_tasks is False there"),
    ({"identity": {"lab": 1}}, "config.lab is None there and 1 here"),
  ],
)
def test_checkpoints_of_another_run_are_refused_though_their_shapes_fit(unfinished, changes, key):
  (unfinished / "config.json").unlink()  # as its own error once advised
  before = sorted(path.name for path in (unfinished / "checkpoints").iterdir())
  with pytest.raises(WorkdirError, match=f"checkpoints here are of another run: .*{key}"):
    run(unfinished, **changes)
  assert not (unfinished / "config.json").exists()  # and the folder stays as it was
  assert before == sorted(path.name for path in (unfinished / "checkpoints").iterdir())


def change_source(monkeypatch):
  monkeypatch.setattr(provenance, "source_digest", lambda: "other")


def change_cores(monkeypatch):
  monkeypatch.setattr(provenance, "_cores", lambda: 1000)


@pytest.mark.parametrize(
  ("change", "key"),
  [
    (lambda monkeypatch: {"examples": stream(changed=True)}, "data.arrays is "),
    (change_source, "code.tagjax is .* there and 'other' here"),
    (change_cores, "device.cores is .* there and 1000 here"),
  ],
)
def test_other_data_code_and_devices_need_to_be_accepted(unfinished, monkeypatch, change, key):
  changes = change(monkeypatch) or {}
  with pytest.raises(WorkdirError, match=f"were written under others: {key}.*--accept_changes"):
    run(unfinished, **changes)
  results = run(unfinished, **changes, accept_changes=True).results
  first, second = results["provenance"]["starts"]
  assert (first["position"], "changed" in first) == (0, False)
  assert second["position"] > 0
  assert len(second["changed"]) == 1
  assert second["commit"] == results["provenance"]["commit"]


def test_a_lost_log_keeps_its_accuracies(unfinished, ended, capsys):
  (unfinished / "metrics.jsonl").unlink()
  run(unfinished)
  assert "written anew from the checkpoint" in capsys.readouterr().err
  matrix, log = outcome(unfinished)
  assert matrix == outcome(ended)[0]
  rows = [json.loads(line) for line in log.splitlines()]
  found = [row["accuracy_after_task"] for row in rows if "accuracy_after_task" in row]
  assert found == matrix[0]


def test_a_lost_config_does_not_matter(unfinished, ended):
  (unfinished / "config.json").unlink()
  run(unfinished)
  assert outcome(unfinished) == outcome(ended)
  assert (unfinished / "config.json").read_text() == (ended / "config.json").read_text()


def test_what_cannot_be_trained_claims_no_folder(tmp_path):
  def method(hyper):
    def fails(updates, state, params=None):
      raise RuntimeError("mine")

    return optax.GradientTransformation(lambda params: (), fails)

  with pytest.raises(Exception, match="mine"):
    run(tmp_path, method=method, identity={"method": "broken"})
  assert not (tmp_path / "config.json").exists()
  run(tmp_path, identity={"method": "mended"})


def faults(folder):
  return [check.text for check in checking.verify(folder) if not check.ok]


def test_verify_finds_nothing_in_a_run_that_is_whole(ended, unfinished):
  assert faults(ended) == []
  assert faults(unfinished) == []


def test_verify_names_what_does_not_fit(ended, tmp_path, capsys):
  folder = tmp_path / "run"
  shutil.copytree(ended, folder)
  log = (folder / "metrics.jsonl").read_text()
  matrix = outcome(folder)[0]
  for name, change, told in (
    ("metrics.jsonl", log.replace("0", "1", 1), "does not begin with the lines"),
    ("metrics.jsonl", log[:-30], "of the"),
    ("results.json", (json.dumps(matrix[0][2]), "[0.125, 0.5, 0.5]"), "newest checkpoint"),
    ("results.json", ('"batch_size": 4', '"batch_size": 5'), "config.batch_size is 5, and 4"),
    ("config.json", ('"epochs": 1', '"epochs": 2'), "config.epochs is 1, and 2"),
  ):
    path = folder / name
    before = path.read_text()
    after = change if isinstance(change, str) else before.replace(*change)
    assert after != before
    path.write_text(after)
    assert any(told in text for text in faults(folder)), (name, told, faults(folder))
    assert checking.main([str(folder)]) == 1
    path.write_text(before)
  assert checking.main([str(folder)]) == 0
  capsys.readouterr()
  assert checking.main([str(tmp_path)]) == 1
  assert capsys.readouterr().err.startswith("verify: ")


def test_ctrl_c_ends_verify_with_a_line(ended, monkeypatch, capsys):
  def stopped(directory):
    raise KeyboardInterrupt

  monkeypatch.setattr(checkpoint, "inspect", stopped)
  assert checking.main([str(ended)]) == 130
  assert capsys.readouterr().err == "verify: stopped; what is told above has been checked\n"


def test_verify_checks_a_grid_against_its_groups(tmp_path):
  folder = tmp_path / "tuning"
  examples = stream(validation_fraction=0.4)
  grid = {"rate": [0.1, 0.01]}
  sweep(examples, MODEL, lambda h: optax.sgd(h["rate"]), grid=grid, workdir=folder, **SETTINGS)
  assert faults(folder) == []
  own, of_run = ([check.text for check in checking.verify(one)] for one in (folder, tmp_path))
  assert [f"tuning/{text}" for text in own] == of_run  # a run that has not chosen yet
  starts = json.loads((folder / "results.json").read_text())["provenance"]["starts"]
  assert [start["group"] for start in starts] == [0]
  table = json.loads((folder / "points.json").read_text())
  table["points"]["0"]["average_accuracy"]["mean"] += 0.25
  (folder / "points.json").write_text(json.dumps(table))
  (fault,) = faults(folder)
  assert "is not as its group's checkpoint has it" in fault
  assert "not those of results.json" in fault


def test_a_stream_of_ones_own_is_known_by_its_examples():
  class Own:
    def __init__(self, examples):
      self._examples = examples
      self.sizes = examples.sizes

    def __getitem__(self, task):
      return self._examples[task]

  one, same, other = (fingerprint.digests(Own(stream(changed))) for changed in (0, 0, 1))
  assert one == same != other


def own_method(hyper):
  return optax.sgd(0.1)


def test_modules_of_ones_own_count_as_code():
  found = fingerprint.own_sources({"method": "sgd"}, (stream(), MODEL, own_method))
  assert found == {__name__: digest_of(pathlib.Path(__file__))[0][:12]}
  assert fingerprint.own_sources({"method": "ewc+tag"}, (stream(), MODEL, optax.sgd(0.1))) == {}
