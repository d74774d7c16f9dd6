from bench import convolution_flags as bench


def test_rows_are_compared_with_the_first(capsys):
  bench.show({"none": {"a": [3.0, 2.0, 9.0]}, "other": {"a": [1.0]}, "broken": "exit 1: no flag"})
  head, *rows = capsys.readouterr().out.splitlines()
  assert head.split() == ["a", "processes"]
  assert rows[0].split() == ["none", "3.0", "2.0", "1.00", "3"]
  assert rows[1].split() == ["other", "1.0", "1.0", "0.50", "1"]
  assert rows[2].split(maxsplit=1) == ["broken", "exit 1: no flag"]


def test_passes_add_up_and_a_failed_set_is_left_out(tmp_path, monkeypatch):
  answers = {"": {"a": 1.0}, bench.FLAGS["onednn"]: "exit 1"}
  monkeypatch.setattr(bench, "in_process", lambda flags, request: answers.pop(flags, {"a": 2.0}))
  options = type("Options", (), {"rounds": 1, "steps": 1, "passes": 2, "lowerings": "direct"})
  options.out = tmp_path / "found.json"
  found = bench.measure("flags", ["none", "onednn"], options, {"none": {"a": [5.0]}})
  assert found == {"none": {"a": [5.0, 1.0, 2.0]}, "onednn": "exit 1"}
