"""Tables of the pages on shared layers."""

from bench import shared_layers as bench


def test_every_run_has_a_name_that_was_planned():
  for stream in ("4", "20"):
    assert {path.stem for path in (bench.RESULTS / stream).glob("*.json")} <= {*bench.PLANNED}


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
