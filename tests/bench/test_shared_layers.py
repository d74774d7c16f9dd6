"""Tables of the pages on shared layers."""

from bench import shared_layers as bench


def test_both_shares_of_the_images_have_the_same_runs():
  few, more = ({path.name for path in (bench.RESULTS / stream).iterdir()} for stream in ("4", "20"))
  assert few == more


def test_how_sure_lasem_was_is_the_largest_entry(tmp_path):
  rows = [
    {"seed": 1, "task": 0, "step": step, "loss": 1.0}
    | {"monitored": {"posterior": [0.2, step / 10], "prior": [0.5, 0.3]}}
    for step in (4, 8)
  ]
  (tmp_path / "metrics.jsonl").write_text("".join(bench.json.dumps(row) + "\n" for row in rows))
  target = tmp_path / "run.posterior.csv"
  bench.keep_posterior(tmp_path, target)
  lines = target.read_text().splitlines()
  assert lines == [
    "seed,task,step,largest_posterior,largest_prior",
    "1,0,4,0.4000,0.5000",
    "1,0,8,0.8000,0.5000",
  ]


def test_the_weights_of_darts_are_those_when_a_task_ends(tmp_path, monkeypatch):
  rows = [
    {"seed": 7, "task": task, "step": step, "loss": 1.0}
    | {"monitored": {"mixture": [0.5, step / 10]}}
    for task, step in ((0, 4), (0, 8), (1, 3))
  ]
  (tmp_path / "metrics.jsonl").write_text("".join(bench.json.dumps(row) + "\n" for row in rows))
  monkeypatch.setattr(bench, "RESULTS", tmp_path)
  (tmp_path / "4").mkdir()
  target = tmp_path / "4" / "darts_hps.mixture.csv"
  bench.keep_mixture(tmp_path, target)
  lines = target.read_text().splitlines()
  assert lines[:3] == ["seed,task,layer,shared", "7,0,0,0.5000", "7,0,1,0.8000"]
  results = {"config": {"model": "hps"}, "seeds": [7]}
  assert bench.kept_weights("4", results, 0) == ["50-80"]
  assert bench.kept_weights("4", results, 1) == ["50-70"]  # 0.3 of the shared kind: 0.7 of the own
