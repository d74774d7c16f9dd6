"""Figures of several seeds as one: mean, spread and a confidence interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Summary(NamedTuple):
  """A figure over several seeds.

  Attributes:
    mean: mean over the seeds.
    std: standard deviation over the seeds, with the `ddof` that was asked for.
    ci95: half the width of the 95 % confidence interval of the mean: it is `mean ± ci95`.
    per_seed: the values themselves.
  """

  mean: float
  std: float
  ci95: float
  per_seed: tuple[float, ...]


def summarise(values: ArrayLike, ddof: int = 1) -> Summary:
  r"""Mean, standard deviation and 95 % confidence interval of one figure over n seeds.

  `std = sqrt(sum_i (x_i - mean)^2 / (n - ddof))` and `ci95 = t s / sqrt(n)`, with s the sample
  standard deviation (always that with ddof 1) and t the 0.975 quantile of Student's distribution
  with n - 1 degrees of freedom: with the few seeds of an experiment a normal distribution's 1.96
  would be far too small.

  Args:
    values: `[n]`, one value a seed; a NaN (an undefined figure) makes the summary NaN.
    ddof: 1 for the sample standard deviation; 0 for that of the population, which the tables of
      TAG and A-GEM print.

  Returns:
    The summary. Of one seed, `ci95` is NaN, and so is `std` unless `ddof` is 0.

  Raises:
    ValueError: if there is no value, `values` is no vector, or `ddof` is neither 0 nor 1.

  >>> summary = summarise([0.70, 0.74, 0.75])
  >>> f"{summary.mean:.2f} ± {summary.ci95:.3f} (std {summary.std:.4f})"
  '0.73 ± 0.066 (std 0.0265)'
  """
  if isinstance(ddof, bool) or ddof not in (0, 1):
    raise ValueError(f"ddof is {ddof!r}, must be 0 (population) or 1 (sample)")
  seeds = np.asarray(values, dtype=np.float64)
  if seeds.ndim != 1 or seeds.size == 0:
    raise ValueError(f"values has shape {seeds.shape}, must be [n] with one value a seed")
  from scipy import special  # a tenth of a second, which a run has no use for before its end

  count = seeds.size
  spread = float(seeds.std(ddof=1)) if count > 1 else np.nan
  return Summary(
    mean=float(seeds.mean()),
    std=float(seeds.std()) if ddof == 0 else spread,
    ci95=float(special.stdtrit(count - 1, 0.975)) * spread / count**0.5 if count > 1 else np.nan,
    per_seed=tuple(seeds.tolist()),
  )
