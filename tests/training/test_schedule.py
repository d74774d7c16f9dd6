"""Every task is visited when its protocol says, and every step of an epoch is taken once."""

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tagjax.core.errors import ConfigError
from tagjax.training.options import Protocol
from tagjax.training.schedule import Place, Visit, spans, visits

PROTOCOLS = get_args(Protocol)
sizes = st.integers(1, 6)


@pytest.mark.parametrize(
  ("protocol", "tasks"),
  [
    ("sequential", [0, 1, 2]),
    ("multitask", [0, 1, 2, 0, 1, 2]),
    ("joint", [2]),
    ("independent", [0, 1, 2]),
  ],
)
def test_each_protocol_visits_what_it_says(protocol, tasks):
  assert [visit.task for visit in visits(protocol, 3, cycles=2)] == tasks


@given(st.sampled_from(PROTOCOLS), sizes, sizes)
def test_visits_are_numbered_and_end_with_an_evaluation(protocol, num_tasks, cycles):
  found = visits(protocol, num_tasks, cycles)
  assert [visit.number for visit in found] == list(range(len(found)))
  assert found[0].fresh
  assert found[-1].evaluated
  assert found[-1].task == num_tasks - 1


@given(st.sampled_from(PROTOCOLS), sizes, sizes)
def test_new_networks_and_evaluations_are_those_of_the_protocol(protocol, num_tasks, cycles):
  found = visits(protocol, num_tasks, cycles)
  fresh, evaluated = sum(v.fresh for v in found), sum(v.evaluated for v in found)
  expected = {
    "sequential": (1, num_tasks),
    "multitask": (1, 1),
    "joint": (1, 1),
    "independent": (num_tasks, num_tasks),
  }
  assert (fresh, evaluated) == expected[protocol]


@given(st.sampled_from(PROTOCOLS), sizes, sizes)
def test_a_task_comes_again_only_after_its_first_visit(protocol, num_tasks, cycles):
  seen = set()
  for visit in visits(protocol, num_tasks, cycles):
    assert visit.again == (visit.task in seen)
    seen.add(visit.task)


def test_tasks_come_again_in_the_order_that_is_given():
  found = visits("sequential", 3, order="0-1, 0-2")
  assert [visit.task for visit in found] == [0, 1, 0, 1, 2]
  assert [visit.begun for visit in found] == [1, 2, 2, 2, 3]
  assert all(visit.evaluated for visit in found)


@pytest.mark.parametrize("order", ["0-1", "0, 2, 1, 2", "0-2, 0", "0-3", "one"])
def test_orders_that_are_refused(order):
  with pytest.raises(ConfigError, match="visit_order"):
    visits("sequential", 3, order=order)


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 35))
def test_every_step_is_taken_once_and_in_order(steps, chunk_steps, curve_batches):
  found = list(spans(steps, chunk_steps, curve_batches))
  taken = [step for span in found for step in range(span.start, span.stop)]
  assert taken == list(range(steps))
  assert all(span.stop - span.start <= chunk_steps for span in found)


@given(st.integers(1, 30), st.integers(1, 8), st.none() | st.integers(0, 35))
@example(5, 2, 0)  # before the first batch alone
def test_curves_have_a_point_before_each_of_their_batches_and_after_the_last(
  steps, chunk_steps, curve_batches
):
  probed = [span.start for span in spans(steps, chunk_steps, curve_batches) if span.probed]
  wanted = [] if curve_batches is None else list(range(min(steps, curve_batches) + 1))
  assert probed == wanted


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 35))
def test_a_learning_curve_trains_the_same_steps(steps, chunk_steps, curve_batches):
  """Steps within the curve are taken one by one, so that each can be evaluated before."""
  single = [s for s in spans(steps, chunk_steps, curve_batches) if s.probed and s.stop > s.start]
  assert all(span.stop == span.start + 1 for span in single)
  assert len(single) == min(steps, curve_batches)


def test_an_epoch_without_a_curve_is_cut_into_chunks():
  assert [tuple(span) for span in spans(7, 3)] == [(0, 3, False), (3, 6, False), (6, 7, False)]


def test_a_place_is_at_the_task_of_its_visit():
  place = Place(range(2), Visit(4, 1, again=True), "train", 0, 0, 9, False, True)
  assert place.task == 1
