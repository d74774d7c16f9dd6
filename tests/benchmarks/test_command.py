"""`python -m tagjax.benchmarks`: every benchmark is listed, every option is taken."""

import inspect

import pytest

from tagjax import benchmarks
from tagjax.benchmarks import __main__ as command


def test_the_list_names_all_with_data_and_papers(capsys):
  command.main(["list"])
  text = capsys.readouterr().out
  for name, benchmark in command.BENCHMARKS.items():
    assert f"{name}: " in text
    assert benchmark.paper in text
    assert benchmark.published in text
    assert ", ".join(benchmark.sources) in text


def test_describe_takes_any_option(fake_load, capsys, tmp_path):
  picture = tmp_path / "p.png"
  arguments = ["--num_tasks=3", "--classes=1-9", "--class_order=seeded", "--blurry_fraction=0.3"]
  command.main(["describe", "split_digits", *arguments, f"--picture={picture}"])
  expected = benchmarks.load_benchmark(
    "split_digits", num_tasks=3, classes="1-9", class_order="seeded", blurry_fraction=0.3
  )
  assert capsys.readouterr().out == expected.describe() + "\n"
  assert picture.read_bytes().startswith(b"\x89PNG")
  command.main(["describe", "split_digits", "--classes_per_task=(3, 2)", "--task_order=1, 0"])
  assert "classes 3-4" in capsys.readouterr().out.splitlines()[5]


def test_all_options_of_load_benchmark_are_there(capsys):
  with pytest.raises(SystemExit):
    command.main(["describe", "--help"])
  text = capsys.readouterr().out
  for name in inspect.signature(benchmarks.load_benchmark).parameters:
    assert name == "name" or f"--{name} " in text


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["split_digit"], "benchmark='split_digit' is unknown"),
    (["split_digits", "--num_tasks=3"], "num_tasks is 3, which does not divide"),
    (["split_digits", "--num_tasks=1", "--picture=/nowhere/p.png"], "/nowhere/p.png"),
    (["object_sequence", "--data_dir=/nowhere"], "no data for"),
  ],
)
def test_errors_are_one_line(fake_load, arguments, words):
  with pytest.raises(SystemExit) as caught:
    command.main(["describe", *arguments])
  text = str(caught.value)
  assert text.startswith("error: ")
  assert words in text
  assert "\n" not in text
