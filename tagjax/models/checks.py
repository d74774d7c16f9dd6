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
