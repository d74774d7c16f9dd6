"""Every schedule of Optax by its own name, as a factor on the learning rate.

The table is made by looking into `optax.schedules`; nothing is listed by hand.
"""

import inspect
from collections.abc import Callable
from typing import Any

import chex
import optax

from tagjax.transforms.optax_options import text_options, with_options
from tagjax.transforms.schedules import Progress, TaskSchedule

# A factor of the learning rate starts at 1 and goes to 0, where Optax wants to be told.
_VALUES = {"value": 1.0, "init_value": 1.0, "peak_value": 1.0, "end_value": 0.0}
_HORIZONS = ("decay_steps", "transition_steps")


def optax_schedules() -> dict[str, Callable[..., TaskSchedule]]:
  """From its name in Optax to a function that makes the schedule of its own arguments.

  Every function of `optax.schedules` that returns a schedule and whose arguments text can express
  (so not `join_schedules`, which joins functions). Their arguments are Optax's, in steps, and:

  * values are factors of the learning rate: `init_value` and `peak_value` are 1 by default (but
    `init_value` is 0 where the rate rises to a peak), `end_value` is 0;
  * `decay_steps` and `transition_steps` are None by default, the steps of the task or of the
    stream. Where tasks differ in their number of steps, N, the steps of a task are then stretched
    to those of the longest, `step * N_longest / N`, and other arguments in steps with them;
  * what Optax requires beyond these must be given;
  * dicts may be given as text: `"{100: 0.1, 200: 0.1}"`.

  Returns:
    The table, in alphabetical order. What the functions make is for `scale_by_task_schedule`.

  Example:
    >>> schedule = optax_schedules()["cosine_decay_schedule"](alpha=0.5)
    >>> float(schedule(Progress(step=8, num_steps=8, epoch=0, steps_per_epoch=8, longest=8)))
    0.5
  """
  table = {}
  for name, function in sorted(vars(optax.schedules).items()):
    if name.startswith("_") or not inspect.isfunction(function):
      continue
    signature = inspect.signature(function, eval_str=True)
    if signature.return_annotation != optax.Schedule:
      continue
    options = text_options(function)
    needed = {key for key, p in signature.parameters.items() if p.default is p.empty}
    if needed <= options.keys():
      table[name] = _factor(name, function, options)
  return table


def _factor(name, function, options: dict[str, inspect.Parameter]) -> Callable[..., TaskSchedule]:
  """`function` of Optax as a function of its options that returns a `TaskSchedule`."""
  required = [key for key, option in options.items() if option.default is option.empty]
  defaults = _VALUES | ({"init_value": 0.0} if "peak_value" in options else {})
  for key in required:
    option = options[key]
    if key in defaults:
      options[key] = option.replace(default=defaults[key])
    else:
      options[key] = option.replace(default=None, annotation=option.annotation | None)
  required = [key for key in required if key not in (*defaults, *_HORIZONS)]

  def call(given: dict[str, Any]) -> TaskSchedule:
    open_ended = [key for key in _HORIZONS if key in given and given[key] is None]

    def schedule(where: Progress) -> chex.Numeric:
      step = where.step
      if open_ended and not isinstance(where.num_steps, int):
        step = step * (where.longest / where.num_steps)
      return function(**given | dict.fromkeys(open_ended, where.longest))(step)

    return schedule

  return with_options(function, name, options, call, required)
