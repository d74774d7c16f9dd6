"""Blurry tasks: a fraction of each task's training examples is shown in other tasks.

References:
  Aljundi, Lin, Goujaud and Bengio, "Gradient based sample selection for online continual learning",
  NeurIPS 2019 (blurred boundaries); Bang et al., "Rainbow Memory: Continual Learning with a Memory
  of Diverse Samples", CVPR 2021 (a fraction of each task's examples is of the other tasks).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tagjax.benchmarks import checks


class Blur(NamedTuple):
  """How much is exchanged.

  Attributes:
    fraction: f, in (0, 1): of each task's training examples.
    data_seed: seed of the draws.
  """

  fraction: float
  data_seed: int = 0


class Share(NamedTuple):
  """Training examples of one task that are shown at one place of the stream.

  Attributes:
    home: the place whose examples they are.
    chosen: int64 `[k]`, ascending numbers among the training examples of that place.
  """

  home: int
  chosen: np.ndarray


def exchange(sizes: Sequence[int], kinds: Sequence[int], blur: Blur) -> list[list[Share]]:
  """Deals a fraction of each task's training examples out to the other tasks.

  Of n examples, `round(f n)` leave (halves upwards), drawn at random. All that leave are dealt out
  at random, as many to each place as have left it, and none to the task that it comes from. So
  every place keeps its size, and every example is shown once.

  Args:
    sizes: number of training examples at each place of the stream.
    kinds: the task at each place; a task that comes twice exchanges nothing with itself.
    blur: how much.

  Returns:
    For each place the examples that are shown there, those of its own first.

  Raises:
    ValueError: if nothing would be exchanged, or a task has more to give than the others.

  >>> shares = exchange([4, 4], kinds=[0, 1], blur=Blur(0.5))
  >>> [(share.home, len(share.chosen)) for share in shares[0]]
  [(0, 2), (1, 2)]
  """
  kinds = np.asarray(kinds)
  counts = np.floor(blur.fraction * np.asarray(sizes) + 0.5).astype(int)
  _check_counts(counts, kinds, blur.fraction)
  staying, leaving = [], []
  for place, (size, count) in enumerate(zip(sizes, counts, strict=True)):
    shuffled = checks.generator(blur.data_seed, "leaving examples", place).permutation(size)
    leaving.append(shuffled[:count])
    staying.append(np.sort(shuffled[count:]))
  host = np.repeat(np.arange(len(sizes)), counts)
  order = _deal_out(host, kinds, checks.generator(blur.data_seed, "exchange"))
  home, chosen = host[order], np.concatenate(leaving)[order]
  shares = [[Share(place, own)] for place, own in enumerate(staying)]
  for place, place_shares in enumerate(shares):
    here = host == place
    for origin in np.unique(home[here]):
      place_shares.append(Share(int(origin), np.sort(chosen[here & (home == origin)])))
  return shares


def _deal_out(host: np.ndarray, kinds: np.ndarray, draw: np.random.Generator) -> np.ndarray:
  """A random order of the leaving examples in which none goes to the task that it comes from."""
  order = draw.permutation(len(host))
  goes_to = kinds[host]
  for kind in np.unique(kinds):
    comes_from = goes_to[order]
    stuck = np.flatnonzero((goes_to == kind) & (comes_from == kind))
    # There are enough of these: the task has no more to give than the others together.
    partners = draw.permutation(np.flatnonzero((goes_to != kind) & (comes_from != kind)))
    partners = partners[: len(stuck)]
    order[stuck], order[partners] = order[partners], order[stuck]
  return order


def _check_counts(counts: np.ndarray, kinds: np.ndarray, fraction: float) -> None:
  if not counts.any():
    raise ValueError(
      f"blurry_fraction is {fraction}, which is no example of any task: choose a larger fraction"
    )
  given = np.bincount(kinds, weights=counts)
  most, all_given = int(given.max()), int(given.sum())
  if 2 * most > all_given:
    raise ValueError(
      f"blurry_fraction is {fraction}, but task {given.argmax()} has {most} examples to exchange "
      f"and all others have {all_given - most}: choose tasks of more even sizes, or 0"
    )
