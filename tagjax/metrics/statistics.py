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
  count = seeds.size
  spread = float(seeds.std(ddof=1)) if count > 1 else np.nan
  return Summary(
    mean=float(seeds.mean()),
    std=float(seeds.std()) if ddof == 0 else spread,
    ci95=_quantile(count - 1) * spread / count**0.5 if count > 1 else np.nan,
    per_seed=tuple(seeds.tolist()),
  )


def _quantile(freedom: int) -> float:
  """The 0.975 quantile of Student's distribution."""
  if freedom <= len(_T):
    return _T[freedom - 1]
  from scipy import special

  return float(special.stdtrit(freedom, 0.975))


# SciPy's `special.stdtrit(n, 0.975)` for n from 1: loading it takes a tenth of a second.
# fmt: off
_T = (
  12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934,
  2.5705818356363146, 2.4469118511449786, 2.364624251592784, 2.306004135204166,
  2.262157162798205, 2.228138851986274, 2.200985160091639, 2.1788128296672284,
  2.1603686564627913, 2.144786687917804, 2.131449545559776, 2.1199052992212546,
  2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864,
  2.0796138447276795, 2.0738730679040254, 2.0686576104190486, 2.0638985616280245,
  2.0595385527532972, 2.0555294386428735, 2.0518305164802846, 2.0484071417952454,
  2.045229642132703, 2.0422724563012378,
)
# fmt: on
