"""The line of progress: what it says, where it says it, and how little."""

import io

import pytest

from tagjax.report.progress import Progress


class Terminal(io.StringIO):
  def isatty(self):
    return True


def train(line, *, seeds=2, tasks=2, chunks=(50, 100), epochs=1):
  with line:
    for seed in range(seeds):
      for task in range(tasks):
        for _ in range(epochs):
          for step in chunks:
            line.update(seed, task, step, 100, loss=0.25, accuracy_so_far=0.5)
        line.task_done(seed, task, accuracy_so_far=0.75)


def test_a_log_file_gets_one_line_a_task():
  output = io.StringIO()
  train(Progress(400, stream=output, num_seeds=2, num_tasks=2))
  lines = output.getvalue().splitlines()
  assert len(lines) == 4
  assert lines[0].startswith(
    "seed 1/2  task 1/2  loss 0.2500  accuracy so far 75.0 %   25 % done, 0:0"
  )
  assert lines[-1].startswith("seed 2/2  task 2/2")
  assert lines[-1].endswith("100 % done, 0:00 left")
  assert "\x1b" not in output.getvalue()


def test_a_terminal_gets_one_line_that_is_overwritten(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  output = Terminal()
  line = Progress(100, stream=output)
  with line:
    line.update(0, 2, 50, 100, loss=0.25, accuracy_so_far=0.5)
    line._line.refresh()
  text = output.getvalue()
  for part in ("seed 1  task 3", "step 50/100", "loss 0.2500", "accuracy so far 50.0 %", "left"):
    assert part in text
  assert "50%" in text


def test_a_print_beside_the_line_on_a_terminal_stays_on_stdout(monkeypatch, capsys):
  monkeypatch.setenv("TERM", "xterm")
  output = Terminal()
  with Progress(100, stream=output) as line:
    line.update(0, 0, 1, 100, loss=1.0)
    print("for other programs")
  assert capsys.readouterr().out == "for other programs\n"
  assert "for other programs" not in output.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_disabled_it_says_nothing(stream):
  output = stream()
  train(Progress(400, enabled=False, stream=output))
  assert output.getvalue() == ""


def test_it_writes_to_stderr_and_leaves_stdout_alone(capsys):
  line = Progress(400)
  with line:
    line.update(0, 0, 1, 100, loss=1.0)
    print("for other programs")
    line.task_done(0, 0)
  out, err = capsys.readouterr()
  assert out == "for other programs\n"
  assert err.startswith("seed 1  task 1  loss 1.0000")


@pytest.mark.parametrize(("chunks", "epochs"), [((50, 100), 1), ((50, 100), 3), ((100,), 3)])
def test_steps_are_counted_over_chunks_epochs_tasks_and_seeds(chunks, epochs):
  line = Progress(1200, enabled=False)
  train(line, chunks=chunks, epochs=epochs)
  assert line.done == 400 * epochs


def test_a_resumed_run_starts_where_it_was():
  line = Progress(400, enabled=False, done=250)
  with line:
    line.update(1, 0, 100, 100, loss=1.0, done=300)
    assert line.done == 300
    line.update(1, 1, 50, 100, loss=1.0)
    assert line.done == 350


def test_a_loss_that_is_not_finite_and_no_accuracy_are_shown():
  output = io.StringIO()
  with Progress(0, stream=output) as line:
    line.update(0, 0, 1, 1, loss=float("nan"))
    line.task_done(0, 0)
  assert output.getvalue() == "seed 1  task 1  loss nan  100 % done, unknown time left\n"
