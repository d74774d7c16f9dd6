"""Label noise: some training examples are taught a wrong class of their task."""

import numpy as np


def flip_labels(
  label: np.ndarray, classes: np.ndarray, fraction: float, draw: np.random.Generator
) -> np.ndarray:
  """Replaces labels by other classes of the task, each of them equally likely.

  Args:
    label: int `[n]`, the classes of the examples, all among `classes`.
    classes: int `[k]`, the classes of the task, each once.
    fraction: p, in [0, 1); `round(p n)` labels are replaced (halves upwards), drawn without regard
      to their class.
    draw: random numbers.

  Returns:
    int `[n]`, the labels; exactly `round(p n)` of them differ from `label`.

  Raises:
    ValueError: if labels are to be replaced and the task has one class only.

  >>> label = np.array([3, 3, 5, 5])
  >>> flip_labels(label, np.array([3, 5]), 0.99, np.random.default_rng(0)).tolist()
  [5, 5, 3, 3]
  """
  count = int(np.floor(fraction * len(label) + 0.5))
  if count and len(classes) < 2:
    raise ValueError(
      f"label_noise is {fraction}, but a task has class {classes[0]} only, so no wrong label: "
      "choose larger tasks, or 0"
    )
  noisy = label.copy()
  if count == 0:
    return noisy
  chosen = draw.permutation(len(label))[:count]
  sorted_classes = np.sort(classes)
  # 1 to k - 1 places further on, around the end: any class but the true one.
  place = np.searchsorted(sorted_classes, label[chosen])
  step = draw.integers(1, len(classes), size=count)
  noisy[chosen] = sorted_classes[(place + step) % len(classes)]
  return noisy
