"""The line of progress on stderr; stdout stays free for what other programs read."""

import math
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
  """Shows seed, task, step, loss, accuracy so far and the time left.

  On a terminal one line that is overwritten; elsewhere (a log file, a pipe) one plain line a task.
  Seeds and tasks are counted from 1 on it, as in the pictures. A context manager.

  Args:
    total_steps: training steps of the whole run, all seeds.
    enabled: False shows nothing.
    done: steps that a run which is resumed has already taken.
    num_seeds: shown beside the seed, if given.
    seeds_together: seeds that go side by side; the figures are then means over them.
    num_tasks: shown beside the task, if given.
    noun: what a seed is called; "run" in a grid, where a seed is trained with many settings.
    stream: where to; stderr by default.
  """

  def __init__(
    self,
    total_steps: int,
    enabled: bool = True,
    *,
    done: int = 0,
    num_seeds: int | None = None,
    seeds_together: int = 1,
    num_tasks: int | None = None,
    noun: str = "seed",
    stream: TextIO | None = None,
  ):
    self.total_steps = total_steps
    self.done = done
    self._enabled = enabled
    self._first = done
    self._of = {"seed": num_seeds, "task": num_tasks}
    self._seeds_together = seeds_together
    self._noun = noun
    self._last = (None, None, 0)
    self._loss = math.nan
    self._stream = stream or sys.stderr
    self._begun = time.perf_counter()
    self._line = None
    console = Console(file=self._stream)
    if enabled and console.is_terminal and not console.is_dumb_terminal:
      self._line = _make_line(console)

  def __enter__(self) -> "Progress":
    self._begun = time.perf_counter()
    if self._line:
      self._bar = self._line.add_task("", total=self.total_steps, completed=self.done)
      self._line.start()
    return self

  def __exit__(self, *exception) -> None:
    del exception
    if self._line:
      self._line.stop()

  def update(
    self,
    seed: int,
    task: int,
    step: int,
    steps: int,
    loss: float,
    accuracy_so_far: float | None = None,
    *,
    done: int | None = None,
  ) -> None:
    """Shows where training is.

    Args:
      seed: index of the (first) seed, from 0.
      task: index of the task, from 0.
      step: steps taken in this epoch of the task.
      steps: steps of such an epoch.
      loss: mean loss of the last steps.
      accuracy_so_far: fraction; average accuracy over the tasks learned; None if there is none.
      done: steps taken of `total_steps`. If not given, they are counted from call to call, taking
        `step` to start again from 0 when it does not rise.
    """
    last_seed, last_task, last_step = self._last
    goes_on = (seed, task) == (last_seed, last_task) and step > last_step
    self._last = (seed, task, step)
    self._loss = loss
    advanced = self.done + step - (last_step if goes_on else 0)
    self.done = min(self.total_steps, advanced if done is None else done)
    if self._line:
      text = f"{self._place(seed, task)}  step {step}/{steps}  {self._figures(accuracy_so_far)}"
      self._line.update(self._bar, description=text, completed=self.done)

  def task_done(self, seed: int, task: int, accuracy_so_far: float | None = None) -> None:
    """Says that a task has been learned and evaluated; the arguments are those of `update`."""
    figures = self._figures(accuracy_so_far)
    if self._line:
      self._line.update(self._bar, description=f"{self._place(seed, task)}  {figures}")
    elif self._enabled:
      share = 100 * self.done / self.total_steps if self.total_steps else 100.0
      left = f"{share:3.0f} % done, {self._time_left()} left"
      print(f"{self._place(seed, task)}  {figures}  {left}", file=self._stream, flush=True)

  def _place(self, seed: int, task: int) -> str:
    seeds = f"{self._noun} {seed + 1}"
    if self._seeds_together > 1:
      seeds = f"{self._noun}s {seed + 1}-{seed + self._seeds_together}"
    parts = ((seeds, self._of["seed"]), (f"task {task + 1}", self._of["task"]))
    return "  ".join(text + (f"/{total}" if total else "") for text, total in parts)

  def _figures(self, accuracy_so_far: float | None) -> str:
    loss = f"loss {self._loss:.4f}"
    if accuracy_so_far is None:
      return loss
    return f"{loss}  accuracy so far {100 * accuracy_so_far:.1f} %"

  def _time_left(self) -> str:
    taken = self.done - self._first
    if taken <= 0:
      return "unknown time"
    elapsed = time.perf_counter() - self._begun
    seconds = round(elapsed / taken * (self.total_steps - self.done))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _make_line(console: Console) -> RichProgress:
  return RichProgress(
    TextColumn("{task.description}", markup=False),
    BarColumn(bar_width=20),
    TaskProgressColumn(),
    TimeRemainingColumn(compact=True),
    TextColumn("left"),
    console=console,
    transient=True,
    # Redirected, a print() to stdout would come out on stderr.
    redirect_stdout=False,
    refresh_per_second=5,
  )
