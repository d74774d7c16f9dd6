"""A small trace in the format of `itaml_golden.npz`, made in float64 NumPy alone.

Written from the description of the algorithm, without a line of the library, so that the suite can
drive the library with a problem of other shapes than the authors' trace has: a perceptron with one
hidden layer, classes of different sizes, chunks that do not divide a task.
"""

import numpy as np

TASKS, WIDTH, INPUTS, HIDDEN = 3, 3, 5, 7
OUTPUTS = TASKS * WIDTH
EPOCHS, BATCH, BUDGET, ADAPT_BATCH, BETA = 2, 10, 16, 3, 0.7
MOMENTUM, DECAY, ADAPT_RATE = 0.9, 0.002, 0.003
RATES = {"sgd": 0.2, "radam": 0.05}
CHUNKS = (1, 4, 30)
SHAPES = [(HIDDEN, INPUTS), (HIDDEN,), (OUTPUTS, HIDDEN)]  # hidden weight and bias, head


def make(variants, seed=0):
  """All keys of a trace of these variants."""
  rng = np.random.default_rng(seed)
  means = rng.normal(size=(OUTPUTS, INPUTS))
  trace = {
    "num_tasks": TASKS,
    "classes_per_task": WIDTH,
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "memory_budget": BUDGET,
    "adapt_batch_size": ADAPT_BATCH,
    "beta": BETA,
    "momentum": MOMENTUM,
    "weight_decay": DECAY,
    "adapt_learning_rate": ADAPT_RATE,
    "variants": list(variants),
    "chunk_sizes": CHUNKS,
    "param_names": ["one.weight", "one.bias", "fc.weight"],
    "param_shapes": [(*shape, 0, 0, 0)[:4] for shape in SHAPES],
    "init": np.float32(0.5 * rng.normal(size=sum(map(np.prod, SHAPES)))).astype(float),
  }
  for part, sizes in (("train", rng.integers(4, 9, OUTPUTS)), ("test", [5] * OUTPUTS)):
    label = rng.permutation(np.repeat(np.arange(OUTPUTS), sizes))
    noise = rng.normal(size=(len(label), INPUTS))
    trace[f"{part}_y"] = label.astype(np.int32)
    trace[f"{part}_x"] = np.float32(means[label] + 0.7 * noise).astype(float)
  trace |= _orders(rng, trace["train_y"], trace["test_y"])
  for name in variants:
    trace |= {f"{name}.{key}": value for key, value in _run(name, trace).items()}
  return {key: np.asarray(value) for key, value in trace.items()}


def _orders(rng, label, test_label):
  """Memories, and the rows of each minibatch, adaptation and test."""
  found, memory = {}, []
  batches, sessions, epochs = [], [], []
  for session in range(TASKS):
    rows = np.flatnonzero(label // WIDTH == session)
    for epoch in range(EPOCHS):
      order = rng.permutation([*memory, *rows])
      for cut in _cut(order, BATCH):
        batches.append(cut)
        sessions.append(session)
        epochs.append(epoch)
    quota = BUDGET // ((session + 1) * WIDTH)
    seen = range((session + 1) * WIDTH)
    memory = [row for c in seen for row in np.flatnonzero(label == c)[:quota]]
    found[f"memory_index_e{session}"] = np.int32(memory)
    found[f"memory_label_e{session}"] = label[memory]
    for task in range(session + 1) if session else ():
      own = [row for row in memory if label[row] // WIDTH == task]
      found[f"adapt_index_e{session}_t{task}"] = _cut(rng.permutation(own), ADAPT_BATCH)
    tested = [np.flatnonzero(test_label // WIDTH == task) for task in range(session + 1)]
    found[f"test_index_e{session}"] = np.concatenate([rng.permutation(rows) for rows in tested])
  numbers = {"batch_index": batches, "batch_experience": sessions, "batch_epoch": epochs}
  steps = np.array(epochs)
  rates = {f"learning_rates_{name}": rate * 0.5**steps for name, rate in RATES.items()}
  return found | {key: np.int32(value) for key, value in numbers.items()} | rates


def _cut(rows, size):
  rows = np.pad(rows, (0, -len(rows) % size), constant_values=-1)
  return rows.reshape(-1, size).astype(np.int32)


def _split(theta):
  ends = np.cumsum([np.prod(shape) for shape in SHAPES])[:-1]
  return [part.reshape(shape) for part, shape in zip(np.split(theta, ends), SHAPES, strict=True)]


def _logits(theta, x):
  weight, bias, head = _split(theta)
  return np.maximum(x @ weight.T + bias, 0) @ head.T


def _loss_gradient(theta, x, label, task):
  """Of the mean binary cross-entropy over the outputs of the task."""
  weight, bias, head = _split(theta)
  before = x @ weight.T + bias
  hidden = np.maximum(before, 0)
  own = slice(task * WIDTH, (task + 1) * WIDTH)
  error = np.zeros((len(x), OUTPUTS))
  target = np.eye(OUTPUTS)[label]
  error[:, own] = (1 / (1 + np.exp(-hidden @ head.T)) - target)[:, own] / (len(x) * WIDTH)
  back = (error @ head) * (before > 0)
  return np.concatenate([(back.T @ x).ravel(), back.sum(axis=0), (error.T @ hidden).ravel()])


class _Sgd:
  def __init__(self):
    self.trace = 0.0

  def step(self, theta, gradient, rate):
    self.trace = MOMENTUM * self.trace + gradient + DECAY * theta
    return theta - rate * self.trace


class _Radam:
  def __init__(self):
    self.k, self.m, self.v = 0, 0.0, 0.0

  def step(self, theta, gradient, rate):
    self.k += 1
    self.m = 0.9 * self.m + 0.1 * gradient
    self.v = 0.999 * self.v + 0.001 * gradient**2
    power, limit = 0.999**self.k, 1999.0
    rho = limit - 2 * self.k * power / (1 - power)
    if rho < 5:
      return theta - rate / (1 - 0.9**self.k) * self.m
    known = (rho - 4) / (limit - 4) * (rho - 2) / rho * limit / (limit - 2)
    length = rate * np.sqrt((1 - power) * known) / (1 - 0.9**self.k)
    return theta - length * self.m / (np.sqrt(self.v) + 1e-8)


def _outer_step(theta, kind, own, optimizer, r, rate, session, x, label):
  """Parameters after one minibatch."""
  present = np.unique(label // WIDTH)
  reached, phi = {}, theta
  for task in present:
    phi = theta if kind == "paper" else phi
    rows = label // WIDTH == task
    for _ in range(r):
      phi = optimizer.step(phi, _loss_gradient(phi, x[rows], label[rows], task), rate)
    reached[task] = phi
  eta = np.exp(-BETA * session / TASKS)
  target = phi if kind == "reference" else np.mean(list(reached.values()), axis=0)
  merged = eta * target + (1 - eta) * theta
  if not own:
    return merged
  parts, old = _split(merged), _split(theta)
  parts[2] = old[2].copy()
  for task, moved in reached.items():
    rows = slice(task * WIDTH, (task + 1) * WIDTH)
    parts[2][rows] = eta * _split(moved)[2][rows] + (1 - eta) * old[2][rows]
  return np.concatenate([part.ravel() for part in parts])


def _adapted(theta, rows_of_batches, task, x, label):
  m = v = 0.0
  for k, rows in enumerate(rows_of_batches, start=1):
    rows = rows[rows >= 0]
    gradient = _loss_gradient(theta, x[rows], label[rows], task)
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    root = np.sqrt(v / (1 - 0.999**k)) + 1e-8
    theta = theta - ADAPT_RATE * m / (1 - 0.9**k) / root
  return theta


def _run(name, trace):
  kind, *own, optimizer_name, r = name.split("_")
  x, label, theta = trace["train_x"], trace["train_y"], trace["init"]
  found = {"params": [], "selected": [], "selected_epoch": [], "epoch_accuracy": []}
  for key in ("accuracy", "task_accuracy", "task_aware_accuracy", "plain_accuracy"):
    found[key] = []
  for session in range(TASKS):
    optimizer = {"sgd": _Sgd, "radam": _Radam}[optimizer_name]()
    seen, tested = (session + 1) * WIDTH, trace[f"test_index_e{session}"]
    test_x, test_label = trace["test_x"][tested], trace["test_y"][tested]
    accuracies, ends = [], []
    for epoch in range(EPOCHS):
      is_own = (trace["batch_experience"] == session) & (trace["batch_epoch"] == epoch)
      for step in np.flatnonzero(is_own):
        rows = trace["batch_index"][step]
        rows = rows[rows >= 0]
        rate = trace[f"learning_rates_{optimizer_name}"][step]
        theta = _outer_step(
          theta, kind, own, optimizer, int(r[1:]), rate, session, x[rows], label[rows]
        )
        found["params"].append(theta)
      plain = np.argmax(_logits(theta, test_x)[:, :seen], axis=1)
      accuracies.append(np.mean(plain == test_label))
      ends.append(theta)
    best = int(np.argmax(accuracies))
    theta = ends[best]
    found["selected"].append(theta)
    found["selected_epoch"].append(best)
    found["epoch_accuracy"].append(accuracies)
    found["plain_accuracy"].append(accuracies[best])
    copies = [theta]
    if session:
      copies = [
        _adapted(theta, trace[f"adapt_index_e{session}_t{task}"], task, x, label)
        for task in range(session + 1)
      ]
    found |= _tested(found, session, theta, copies, test_x, test_label)
  return found


def _tested(found, session, theta, copies, x, label):
  """Logits, chunk decisions and accuracies after a session."""
  logits = _logits(theta, x)
  own = np.stack([_logits(c, x)[:, t * WIDTH : (t + 1) * WIDTH] for t, c in enumerate(copies)])
  new = {
    f"adapted_e{session}": copies,
    f"base_logits_e{session}": logits,
    f"adapted_logits_e{session}": own,
  }
  task = label // WIDTH
  best = logits.reshape(len(x), TASKS, WIDTH).max(axis=2)[:, : session + 1]
  aware = [
    np.mean(own[t, task == t].argmax(1) == label[task == t] - t * WIDTH) for t in range(session + 1)
  ]
  right, right_task = [], []
  for p in CHUNKS:
    votes, hits, task_hits = [], 0, 0
    for t in range(session + 1):
      rows = np.flatnonzero(task == t)
      for chunk in (rows[i : i + p] for i in range(0, len(rows), p)):
        vote = int(np.argmax(best[chunk].mean(axis=0)))
        votes.append(vote)
        hits += np.sum(own[vote, chunk].argmax(axis=1) + vote * WIDTH == label[chunk])
        task_hits += (vote == t) * len(chunk)
    new[f"chunk_task_e{session}_p{p}"] = np.int8(votes)
    right.append(hits / len(x))
    right_task.append(task_hits / len(x))
  return new | {
    "accuracy": [*found["accuracy"], right],
    "task_accuracy": [*found["task_accuracy"], right_task],
    "task_aware_accuracy": [
      *found["task_aware_accuracy"],
      aware + [np.nan] * (TASKS - session - 1),
    ],
  }


if __name__ == "__main__":
  import sys

  np.savez_compressed(sys.argv[1], **make(sys.argv[2:]))
