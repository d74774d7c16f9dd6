"""What of a signature becomes an option."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tagjax.transforms.optax_options import text_options

Dtype = str | np.dtype


def example(
  number: jax.typing.ArrayLike,
  rate: optax.ScalarOrSchedule = 0.1,
  count: jax.typing.ArrayLike = 3,
  maybe: jax.typing.ArrayLike | None = None,
  choice: Literal["a", "b"] = "a",
  pair: tuple[jax.typing.ArrayLike, int] = (0.5, 1),
  steps: Sequence[int] = (),
  table: dict[int, float] | None = None,
  flag: bool = False,
  mask: Any | None = None,
  function: Callable[[int], int] = abs,
  dtype: Dtype = "float32",
  inner: optax.GradientTransformation | None = None,
  array: jax.typing.ArrayLike = jnp.ones(2),  # noqa: B008
  bare=1,
):
  """Has an argument of every kind."""


def test_annotations_are_plain_and_the_rest_is_left_out():
  options = {name: str(option) for name, option in text_options(example).items()}
  assert options == {
    "number": "number: float",
    "rate": "rate: float = 0.1",
    "count": "count: int = 3",
    "maybe": "maybe: Optional[float] = None",
    "choice": "choice: Literal['a', 'b'] = 'a'",
    "pair": "pair: tuple[float, int] = (0.5, 1)",
    "steps": "steps: tuple[int, ...] = ()",
    "table": "table: Optional[dict[int, float]] = None",
    "flag": "flag: bool = False",
  }


@pytest.mark.parametrize("function", [optax.adamw, optax.nadam, optax.contrib.muon])
def test_what_is_left_out_may_be_left_out(function):
  """Nothing without a default is lost, so that Optax can be called with the options alone."""
  kept = text_options(function)
  for name, parameter in inspect.signature(function).parameters.items():
    assert name in kept or parameter.default is not parameter.empty
