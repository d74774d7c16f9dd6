"""The plan covers every step once, in order, and saves where it should."""

from hypothesis import given
from hypothesis import strategies as st

from tagjax.config.defaults import PROTOCOLS
from tagjax.training.schedule import make_plan, visits

settings = st.fixed_dictionaries(
  {
    "num_lanes": st.integers(1, 2),
    "steps_per_epoch": st.lists(st.integers(1, 7), min_size=1, max_size=3),
    "epochs": st.integers(1, 3),
    "phases": st.sampled_from([("train",), ("select", "expand")]),
    "chunk_steps": st.integers(1, 4),
    "checkpoint_every": st.integers(0, 5),
    "curve_batches": st.integers(0, 4),
    "baseline": st.booleans(),
  }
)


@given(settings)
def test_every_step_is_taken_once_and_in_order(options):
  plan = make_plan(**options)
  taken = [
    (a.lane, a.task, a.phase, a.epoch, step)
    for a in plan
    if a.kind == "train"
    for step in range(a.start, a.stop)
  ]
  expected = [
    (seed, task, phase, epoch, step)
    for seed in range(options["num_lanes"])
    for task, steps in enumerate(options["steps_per_epoch"])
    for phase in options["phases"]
    for epoch in range(options["epochs"])
    for step in range(steps)
  ]
  assert taken == expected


@given(settings)
def test_boundaries_and_checkpoints(options):
  plan = make_plan(**options)
  tasks, seeds = len(options["steps_per_epoch"]), options["num_lanes"]
  kinds = [a.kind for a in plan]
  assert kinds.count("begin") == seeds
  assert kinds.count("baseline") == seeds * options["baseline"]
  assert kinds.count("evaluate") == seeds * tasks
  assert kinds.count("consolidate") == seeds * tasks * len(options["phases"])
  assert all(a.save for a in plan if a.kind == "evaluate")
  assert sum(a.ends_task_epochs for a in plan) == seeds * tasks
  if options["checkpoint_every"] == 0:
    assert not any(a.save for a in plan if a.kind == "train")
  most = max(1, options["checkpoint_every"]) + options["chunk_steps"]
  since = 0
  for action in plan:
    since += action.stop - action.start if action.kind == "train" else 0
    if options["checkpoint_every"]:
      assert since < most
    since = 0 if action.save else since


@given(settings)
def test_each_epoch_has_its_own_number(options):
  numbers = {}
  for action in make_plan(**options):
    if action.kind == "train":
      place = (action.task, action.phase, action.epoch)
      numbers.setdefault((action.lane, action.epoch_id), set()).add(place)
  assert all(len(places) == 1 for places in numbers.values())


@given(settings)
def test_curves_are_probed_before_each_minibatch(options):
  plan = make_plan(**options)
  wanted = options["curve_batches"]
  for seed in range(options["num_lanes"]):
    for task, steps in enumerate(options["steps_per_epoch"]):
      probes = [a.start for a in plan if a.kind == "probe" and (a.lane, a.task) == (seed, task)]
      assert probes == (list(range(min(wanted, steps) + 1)) if wanted else [])


def test_each_protocol_visits_what_it_says():
  order = {name: [visit.task for visit in visits(name, 3, cycles=2)] for name in PROTOCOLS}
  assert order == {
    "sequential": [0, 1, 2],
    "multitask": [0, 1, 2, 0, 1, 2],
    "joint": [2],
    "independent": [0, 1, 2],
  }


@given(settings)
def test_bounds_begin_and_evaluate_where_they_should(options):
  tasks, seeds = len(options["steps_per_epoch"]), options["num_lanes"]
  expected = {"multitask": (1, 1, 2 * tasks), "joint": (1, 1, 1), "independent": (tasks,) * 3}
  for protocol, (begins, evaluations, visited) in expected.items():
    plan = make_plan(**options, protocol=protocol, cycles=2)
    kinds = [action.kind for action in plan]
    assert kinds.count("begin") == seeds * begins
    assert kinds.count("evaluate") == seeds * evaluations
    assert sum(action.ends_task_epochs for action in plan) == seeds * visited
    assert plan[-1].kind == "evaluate"
    assert plan[-1].save
    # Every visit ends with a checkpoint.
    assert sum(a.save for a in plan if a.kind in ("consolidate", "evaluate")) == seeds * visited


def test_a_task_visited_again_has_no_second_learning_curve():
  plan = make_plan(
    num_lanes=1, steps_per_epoch=[3], epochs=1, curve_batches=2, protocol="multitask"
  )
  assert sum(action.kind == "probe" for action in plan) == 3
