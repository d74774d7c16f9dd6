"""Tables of docs/agem_protocol.md and docs/zero_shot.md."""

from bench import agem_protocol as bench


def test_runs_that_diverged_are_counted_and_named():
  figure = {"mean": 0.5, "std": 0.1}
  runs = [{"seed": 1, "diverged": None}, {"seed": 2, "diverged": {"task": 4, "step": 7}}]
  one = {"average_accuracy": figure, "accuracy_matrix": [[[0.5]]], "diverged_seeds": [2]}
  results = {"je_ewc": one | {"runs": runs}}
  assert bench.runs(results)[-1] == "| JE, EWC | 50.0 ± 10.0 | 1 of 2 |"
  assert bench.diverged(results)[-1] == "| JE, EWC | 2 | 5 | 7 |"
  assert bench.diverged({"sgd": one | {"runs": runs[:1]}}) == ["*Not a run diverged.*"]
