"""Several configurations of one network in a pass: what begins alike is computed once."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np


class Chosen:
  """The configurations of a pass, and what those of their layers that are traced depend on.

  Args:
    candidates: int8 `[n, L]`, see `tagjax.models.TransferCNN`.
    sharing: bool `[L]`, the task's configuration, for `ROUTED`.
    mixture: float `[L, 2]`, for `MIXED`.
  """

  def __init__(self, candidates: np.ndarray, sharing, mixture):
    self._rows = [tuple(row) for row in candidates.tolist()]
    self.sharing, self.mixture = sharing, mixture

  def beginnings(self, length: int, *, distinct: bool = True) -> list[tuple[int, ...]]:
    """What the first layers are in each configuration; each beginning once if `distinct`."""
    rows = [row[:length] for row in self._rows]
    return list(dict.fromkeys(rows)) if distinct else rows


def branched(begun, x, wanted, compute):
  """One more layer: for each beginning all that goes on from it.

  Args:
    begun: the V beginnings so far.
    x: `[V, B, ...]`.
    wanted: the beginnings that are one layer longer.
    compute: `(how, image) -> image` of the layer.
  """
  found, parts = [], []
  for how in dict.fromkeys(row[-1] for row in wanted):
    rows = [row for row in wanted if row[-1] == how]
    parents = taken(x, [begun.index(row[:-1]) for row in rows])
    found += rows
    parts.append(by_image(lambda image, how=how: compute(how, image), parents))
  return found, parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def taken(x, rows: Sequence[int]):
  """Rows of `x`, which itself is returned if they are all of them in order."""
  return x if list(rows) == list(range(len(x))) else x[np.asarray(rows)]


def by_image(function, x):
  """`function` of images `[N, ...]` applied to `[V, B, ...]`."""
  out = function(x.reshape(-1, *x.shape[2:]))
  return out.reshape(*x.shape[:2], *out.shape[1:])


def continued(before, skipped, begun):
  """The input of an earlier layer, of beginnings `before`, for each of the longer ones `begun`."""
  return taken(skipped, [before.index(row[: len(before[0])]) for row in begun])
