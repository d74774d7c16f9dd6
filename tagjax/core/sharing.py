"""Which layers all tasks share: configurations by name, and how a network is asked for several."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tagjax.core.errors import nearest

SEARCHED = "searched"
"""The configuration of a network that has both kinds of every layer: a method chooses."""

OWN, SHARED, ROUTED, MIXED = 0, 1, -1, 2
"""What a method may ask of a layer of a searched network: the task's own, the shared one, the one
that the collection "routing" says for the task, or a mixture of both."""

ROUTING = "routing"
"""The collection of a searched network that has the configuration of each task, as `sharing`."""

_PARTS = {"shared", "task"}
_ROW = re.compile(r"[TFtf]+")
_COUNTED = re.compile(r"(top|bottom)-(\d+)")


def resolve_sharing(sharing: str | Sequence[bool], num_layers: int) -> tuple[bool, ...]:
  """The configuration `c`, `c[l]` True where all tasks share layer l; layer 0 sees the image.

  | name | shared are |
  |---|---|
  | `"all"`, `"none"` | all layers; none of them |
  | `"top-k"` | the k layers nearest to the output |
  | `"bottom-k"` | the k layers nearest to the image |
  | `"alternating"` | every second layer, beginning with the second |
  | `"alternating-2"` | every second layer, beginning with the first |
  | `"FTFT"` | those with a T |

  Args:
    sharing: a name of the table, or a truth value for each layer.
    num_layers: L.

  Returns:
    L truth values.

  Raises:
    ValueError: if the name is unknown, k is more than L, or there are not L values.

  >>> resolve_sharing("top-1", 3), resolve_sharing("TFF", 3), resolve_sharing((True, False), 2)
  ((False, False, True), (True, False, False), (True, False))
  """
  if not isinstance(sharing, str):
    return _of_length(tuple(bool(value) for value in sharing), sharing, num_layers)
  if counted := _COUNTED.fullmatch(sharing):
    return _counted(counted[1] == "top", int(counted[2]), sharing, num_layers)
  layers = range(num_layers)
  named = {
    "all": (True,) * num_layers,
    "none": (False,) * num_layers,
    "alternating": tuple(layer % 2 == 1 for layer in layers),
    "alternating-2": tuple(layer % 2 == 0 for layer in layers),
  }
  if sharing in named:
    return named[sharing]
  if _ROW.fullmatch(sharing):
    return _of_length(tuple(letter in "Tt" for letter in sharing), sharing, num_layers)
  known = [*named, *(f"{end}-{k}" for end in ("top", "bottom") for k in layers[1:])]
  raise ValueError(
    f"sharing={sharing!r} is unknown{nearest(sharing, known)}. There are: {', '.join(known)}, and "
    f"rows such as {'F' + 'T' * (num_layers - 1)!r}, a T or F for each convolution"
  )


def _counted(is_top: bool, number: int, sharing: str, num_layers: int) -> tuple[bool, ...]:
  if number > num_layers:
    raise ValueError(
      f"sharing={sharing!r} names more layers than the {num_layers} convolutions of the network"
    )
  row = (False,) * (num_layers - number) + (True,) * number
  return row if is_top else row[::-1]


def _of_length(row: tuple[bool, ...], sharing, num_layers: int) -> tuple[bool, ...]:
  if len(row) != num_layers:
    raise ValueError(
      f"sharing={sharing!r} has {len(row)} values: give one for each of the {num_layers} "
      "convolutions, the first one sees the image"
    )
  return row


def searched_layers(params: Mapping[str, Any]) -> list[str]:
  """The names of the layers that have both kinds of parameters, in the order of the layers.

  >>> searched_layers({"conv10": {"shared": {}, "task": {}}, "conv9": {"shared": {}, "task": {}}})
  ['conv9', 'conv10']
  """
  names = [
    name for name, layer in params.items() if isinstance(layer, Mapping) and layer.keys() >= _PARTS
  ]
  return sorted(names, key=lambda name: (len(name), name))
