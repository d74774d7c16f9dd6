"""What the networks of images refuse."""

import chex


def check_image(image: chex.Array, model: str, smallest: int = 1) -> None:
  """Refuses what is no batch of images, or of too small ones.

  Args:
    image: what the model was called with.
    model: the model's name, for the message.
    smallest: pixels that height and width must have.

  Raises:
    ValueError: one line that names the shape and what the model takes.
  """
  if image.ndim != 4 or min(image.shape[1:3]) < smallest:
    raise ValueError(
      f"image has shape {image.shape}: {model} takes [B, H, W, C] with H and W of at least "
      f"{smallest} pixels; use another model, or larger images"
    )


def check_rates(**rates: float | tuple[float, ...]) -> None:
  """Raises a ValueError unless every rate of dropout is in [0, 1).

  >>> check_rates(dropout=0.5)
  """
  for name, values in rates.items():
    for rate in values if isinstance(values, tuple) else (values,):
      if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {values!r}")


def check_widths(**widths: int | tuple[int, ...]) -> None:
  """Raises a ValueError unless every number of units is a positive integer.

  >>> check_widths(hidden=(100, 100), width=20)
  """
  for name, values in widths.items():
    for width in values if isinstance(values, tuple) else (values,):
      if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f"{name} must be positive integers, got {values!r}")
