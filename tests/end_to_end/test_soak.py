"""The judgement of `python tests/drill/soak.py`, and its kills of a script that takes no time."""

import functools
import json

import numpy as np
import pytest
import soak

# Four tasks of 0.06 s; goes on after a kill, by the log.
SCRIPT = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
workdir = pathlib.Path(sys.argv[-1].partition("=")[2])
workdir.mkdir(exist_ok=True)
log = workdir / "metrics.jsonl"
done = log.read_text().count("task") // 2 if log.exists() else 0
for task in range(done, 4):
  end = time.process_time() + 0.06
  while time.process_time() < end:
    pass
  with log.open("a") as file:
    file.write(json.dumps({"task": task, "accuracy_after_task": [task]}) + "\\n")
results = {"seconds": 0, "command": "", "provenance": {}, "accuracy": 0.5 + (CHANGES and done > 0)}
(workdir / "results.json").write_text(json.dumps(results))
if LEAVES and done:
  (workdir / "left").touch()
"""


def soaked(launch, folder, changes=False, leaves=False, **how):
  script = folder / "run.py"
  script.write_text(SCRIPT.replace("CHANGES", str(changes)).replace("LEAVES", str(leaves)))
  (folder / "runs").mkdir(exist_ok=True)
  start = functools.partial(launch.start, script=script)
  return soak.killed(start, (), folder / "runs", kill_every=0.1, **{"runs": 2} | how)


def test_what_is_killed_goes_on_and_is_compared(launch, tmp_path):
  kept, options = tmp_path / "kept" / "killed.json", {"seed": 0}
  first = soaked(launch, tmp_path, runs=1, save=lambda part: soak.write(part, kept))
  assert soak.read(kept, {}).runs == first.runs == 1
  first.options = options
  soak.write(first, kept)
  with pytest.raises(SystemExit, match=r"of \{'seed': 0\}, not \{'seed': 1\}"):
    soak.read(kept, {"seed": 1})
  part = soaked(launch, tmp_path, part=soak.read(kept, options))
  np.testing.assert_allclose(part.samples[: len(first.samples)], first.samples, atol=1e-5)
  assert part.wrong == []
  assert part.starts == sum(part.kills.values()) + 2 > 2
  assert part.samples[-1].tasks == 8
  last = [one for one in part.samples if np.isnan(one.memory)]
  assert [(one.run, one.tasks, one.files) for one in last] == [(0, 4, 2), (1, 8, 2)]
  assert len(part.samples) > len(last)
  assert not any(one.memory < 2**20 or one.open_files < 3 for one in part.samples)
  assert [path.name for path in (tmp_path / "runs").iterdir()] == ["whole"]


@pytest.mark.parametrize("fault", ["changes", "leaves"])
def test_other_results_and_leftovers_are_wrong(launch, tmp_path, fault):
  wrong = soaked(launch, tmp_path, **{fault: True}).wrong
  expected = {"changes": "other results", "leaves": "its folder holds"}[fault]
  assert wrong
  assert all(expected in text for text in wrong)


def runs_of(memory, tasks=10):
  fixed = {"open_files": 12, "files": 30, "bytes": 2**20, "seconds": np.nan}
  samples = [
    soak.Sample(run, run * tasks + place, memory=memory(run, place), **fixed)
    for run in range(20)
    for place in range(tasks)
  ]
  return soak.Part(samples=samples).of_runs()


def test_what_stands_for_a_run():
  samples = [
    soak.Sample(3, 31, 5e6, 12, 30, 2e6, np.nan),
    soak.Sample(3, 32, 9e6, 14, 40, 4e6, 1.0),
    soak.Sample(3, 33, 7e6, 13, 35, 3e6, 4.0),
    soak.Sample(3, 34, 7e6, 13, 35, 3e6, 2.0),
    soak.Sample(3, 34, np.nan, np.nan, 20, 1e6, np.nan),
  ]
  part = soak.Part(samples=samples)
  (stands,) = part.of_runs()
  assert stands == (3, 34, 9e6, 14, 20, 1e6, 2.0)
  rows = soak.Part.from_json(part.to_json(whole=False))
  np.testing.assert_array_equal([rows.samples, rows.of_runs()], [[stands], [stands]])


def test_what_grows_is_not_flat():
  noise = np.random.default_rng(0).normal(0, 1e4, (20, 10))
  level = 4e8
  for rise, flat in ((0.0, True), (-0.5, True), (0.01, True), (0.03, False), (0.5, False)):
    slope = soak.slopes_of(
      runs_of(
        lambda run, place, rise=rise: (
          level * (1 + rise * run / 100) + 1e6 * place + noise[run, place]
        )
      )
    )
    assert slope["memory"].is_flat(0.02) is flat, rise
    assert slope["open_files"].is_flat(0.05)
    np.testing.assert_allclose(slope["memory"].slope, rise * level, atol=1e6)
    assert slope["memory"].low < rise * level < slope["memory"].high
  assert not slope["seconds"].is_flat(0.1)  # of which nothing is known


def test_too_few_runs_are_not_flat():
  assert not soak.slope_of([1, 2], [3, 3]).is_flat(0.5)
  assert not soak.slope_of([10, 20, 30, 40], [5, 9, 4, 6]).is_flat(0.5)
  assert soak.slope_of([10, 20, 30, 40], [5, 5, 5, 5]) == (5, 0, 0, 0)


def test_the_first_runs_are_left_out():
  steep = soak.slopes_of(runs_of(lambda run, place: 4e8 * min(run, 2)))["memory"]
  assert steep.slope == 0


def test_the_page_says_what_the_figures_say():
  found = json.loads(soak.FIGURES.read_text())
  parts = {name: soak.Part.from_json(part) for name, part in found.items()}
  assert set(parts) == set(soak.PARTS)
  page = soak.PAGE.read_text()
  assert page.split(soak.START)[1].split(soak.END)[0] == f"\n{soak.section(parts)}\n"
