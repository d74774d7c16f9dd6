"""The loop over a stream, seen by a trainer that only notes what it is asked to do."""

import contextlib
import itertools
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagjax.core.errors import InterruptedRun
from tagjax.core.method import Phase
from tagjax.training.options import RunOptions
from tagjax.training.schedule import visits
from tagjax.training.train_stream import Cursor, train_stream

PHASES = [(Phase("train"),), (Phase("select", 1), Phase("expand"))]
runs = st.fixed_dictionaries(
  {
    "groups": st.integers(1, 2),
    "steps": st.lists(st.integers(1, 7), min_size=1, max_size=3),
    "phases": st.sampled_from(PHASES),
    "chunk_steps": st.integers(1, 4),
    "rehearses": st.booleans(),
    "options": st.builds(
      RunOptions,
      epochs=st.integers(1, 3),
      checkpoint_every=st.integers(0, 5),
      learning_curve_batches=st.none() | st.integers(0, 4),
      evaluate_future_tasks=st.booleans(),
      protocol=st.sampled_from(["sequential", "multitask", "independent"]),
      cycles=st.just(2),
    ),
  }
)


class Notes:
  """A trainer that notes its actions; its steps are counted as a real one's are."""

  def __init__(self, groups, steps, phases, chunk_steps, rehearses, options):
    self.groups = [range(group, group + 1) for group in range(groups)]
    self.num_tasks, self._steps = len(steps), steps
    self.chunk_steps, self.options = chunk_steps, options
    self.programs = types.SimpleNamespace(phases=phases, rehearses=rehearses)
    self.record = types.SimpleNamespace(steps=0, seconds={"total": 0.0})
    self.done, self.saved, self.diverged = [], [], set()

  def has_diverged(self, trials):
    return trials.start in self.diverged

  def steps(self, place):
    return self._steps[place.task]

  def begin(self, trials, visit):
    self.done.append(("begin", trials.start, visit.task))

  def evaluate_untrained(self, trials):
    self.done.append(("evaluate_untrained", trials.start))

  def count_exemplars(self, trials, visit):
    self.done.append(("count_exemplars", trials.start, visit.number))

  def probe(self, place, step):
    self.done.append(("probe", place.trials.start, place.visit.number, place.task, step))

  def train(self, place, span, steps):
    assert steps == self._steps[place.task]
    self.record.steps += span.stop - span.start
    where = (place.trials.start, place.visit.number, place.phase, place.epoch, place.epoch_id)
    self.done.append(("train", *where, span.start, span.stop))

  def consolidate(self, place):
    self.done.append(("consolidate", place.trials.start, place.task, place.phase))

  def evaluate(self, trials, visit):
    self.done.append(("evaluate", trials.start, visit.task))

  def save(self, store, position):
    assert store == "store"
    self.saved.append((position, len(self.done), self.record.steps))

  def kinds(self, name):
    return [action for action in self.done if action[0] == name]


def perform(trainer, first=0, stop_after=None, path="somewhere"):
  """Runs the loop from position `first` on; stops after so many actions of this attempt."""
  trace = types.SimpleNamespace(around=lambda name: contextlib.nullcontext())
  stop = types.SimpleNamespace(requested=False)
  names = []

  def after(name):
    names.append(name)
    stop.requested = stop_after is not None and len(names) >= stop_after

  every = trainer.options.checkpoint_every
  cursor = Cursor(trainer, "store", None, trace, stop, first, 0.0, after, path, every)
  train_stream(trainer, trainer.options, cursor)
  return cursor


@given(runs)
def test_every_step_of_every_visit_is_taken_once_and_in_order(settings):
  trainer = Notes(**settings)
  perform(trainer)
  options = settings["options"]
  taken = [(*a[1:5], s) for a in trainer.kinds("train") for s in range(a[6], a[7])]
  expected = [
    (group, visit.number, phase.name, epoch, step)
    for group in range(settings["groups"])
    for visit in visits(options.protocol, trainer.num_tasks, 2)
    for phase in settings["phases"]
    for epoch in range(phase.epochs or options.epochs)
    for step in range(settings["steps"][visit.task])
  ]
  assert taken == expected


@given(runs)
def test_each_visit_begins_and_ends_as_it_should(settings):
  trainer = Notes(**settings)
  perform(trainer)
  order = visits(settings["options"].protocol, trainer.num_tasks, 2)
  groups = range(settings["groups"])
  of_groups = [(group, visit) for group in groups for visit in order]
  assert trainer.kinds("begin") == [("begin", g, v.task) for g, v in of_groups if v.fresh]
  assert trainer.kinds("evaluate") == [("evaluate", g, v.task) for g, v in of_groups if v.evaluated]
  assert trainer.kinds("consolidate") == [
    ("consolidate", g, v.task, phase.name) for g, v in of_groups for phase in settings["phases"]
  ]
  assert len(trainer.kinds("count_exemplars")) == settings["rehearses"] * len(of_groups)
  baselines = settings["options"].evaluate_future_tasks * len(groups)
  assert len(trainer.kinds("evaluate_untrained")) == baselines


@given(runs)
def test_every_epoch_of_a_trial_has_a_number_of_its_own(settings):
  trainer = Notes(**settings)
  perform(trainer)
  epochs = {}
  for _, group, visit, phase, epoch, epoch_id, *_ in trainer.kinds("train"):
    epochs.setdefault((group, epoch_id), set()).add((visit, phase, epoch))
  assert all(len(places) == 1 for places in epochs.values())
  for group in range(settings["groups"]):
    numbers = [epoch_id for one, epoch_id in epochs if one == group]
    assert numbers == list(range(len(numbers)))


@given(runs)
def test_curves_are_of_the_first_epoch_of_the_first_visit(settings):
  trainer = Notes(**settings)
  perform(trainer)
  wanted, tasks = settings["options"].learning_curve_batches, trainer.num_tasks
  for group in range(settings["groups"]):
    probes = [a[3:] for a in trainer.kinds("probe") if a[1] == group]
    expected = [
      (task, step)
      for task in range(tasks)
      for step in range(0 if wanted is None else min(wanted, settings["steps"][task]) + 1)
    ]
    assert probes == expected


@given(runs)
def test_checkpoints_come_often_enough_and_at_the_end_of_each_visit(settings):
  trainer = Notes(**settings)
  perform(trainer)
  every, chunk = settings["options"].checkpoint_every, settings["chunk_steps"]
  order = visits(settings["options"].protocol, trainer.num_tasks, 2)
  ends = [name for name, *_ in trainer.done].count("consolidate") // len(settings["phases"])
  assert ends == settings["groups"] * len(order)
  assert len(trainer.saved) >= ends
  if every == 0:
    assert len(trainer.saved) == ends
  else:
    steps = [0, *(taken for *_, taken in trainer.saved)]
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) < every + chunk
  assert trainer.saved[-1][1] == len(trainer.done)
  positions = [position for position, *_ in trainer.saved]
  assert positions == sorted(set(positions))  # none is written twice


@given(runs, st.data())
def test_a_stopped_run_goes_on_where_it_was(settings, data):
  whole = Notes(**settings)
  perform(whole)
  stop_after = data.draw(st.integers(1, len(whole.done)))
  trainer = Notes(**settings)
  with pytest.raises(InterruptedRun, match="the same command goes on in somewhere"):
    perform(trainer, stop_after=stop_after)
  position, done, _ = trainer.saved[-1]
  assert done == len(trainer.done) == stop_after
  perform(trainer, first=position)
  assert trainer.done == whole.done
  assert trainer.saved[-1][0] == whole.saved[-1][0]


@given(runs)
def test_a_run_that_has_ended_does_nothing_more(settings):
  trainer = Notes(**settings)
  position = perform(trainer).position
  done, saved = list(trainer.done), list(trainer.saved)
  perform(trainer, first=position)
  assert (trainer.done, trainer.saved) == (done, saved)


def settings(**changes):
  options = RunOptions(**changes)
  loop = {"groups": 2, "steps": [3, 2], "phases": PHASES[0], "chunk_steps": 2, "rehearses": False}
  return loop | {"options": options}


def test_a_group_that_has_diverged_is_not_trained_any_further():
  trainer = Notes(**settings())
  trainer.diverged = {0}
  perform(trainer)
  assert {action[1] for action in trainer.done} == {1}


def test_the_loop_reads_as_it_says():
  trainer = Notes(**settings())
  perform(trainer)
  names = [action[0] for action in trainer.done]
  one = ["begin", "train", "train", "consolidate", "evaluate", "train", "consolidate", "evaluate"]
  assert names == one * 2
