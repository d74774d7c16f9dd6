"""What the config files of LASEM's streams share: its methods, and what it is compared with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from configs.common import compositions

TENSORFLOW_RMSPROP: Mapping[str, Any] = MappingProxyType(
  {
    "rmsprop.decay": 0.9,
    "rmsprop.eps": 1e-10,
    "rmsprop.eps_in_sqrt": True,
    "rmsprop.initial_scale": 1.0,
  }
)
"""RMSProp as TensorFlow 1 has it."""

CANDIDATES = ("all", "none", "top-1", "top-2", "top-3", "bottom-1", "bottom-2", "bottom-3")
"""What brute force tries of four convolutions, with the eight rows that have no such name."""


def layers_table(
  learning_rate: float,
  decay: float,
  sizes: Mapping[str, Any],
  factors: Mapping[str, Any] | None = None,
  examples: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
  """Values of the methods that share layers or not, by the rate of RMSProp.

  Args:
    learning_rate: of RMSProp; TAG's is a twentieth of it.
    decay: of the rate, by epochs of the whole stream; 0: none.
    sizes: keys of the network's section, such as `{"preset": "cifar"}`.
    factors: those that `dfcnn` has besides.
    examples: further rows, of a static network each: `{name: {key: value}}`, which name the model.

  Returns:
    `{name: {key: value}}`. `single_task` and `single_network` are the bounds: a network for each
    task, and one for all with a head for each.
  """
  rate: dict[str, Any] = {"learning_rate": learning_rate}
  if decay:
    schedule = {"schedule": "inverse_time", "schedule_over": "stream", "inverse_time.decay": decay}
    rate |= schedule
  rmsprop = {**rate, **TENSORFLOW_RMSPROP, "fresh_optimizer": True}
  tag = {**rate, "learning_rate": learning_rate / 20, "tag.b": 5.0}
  logits = {"darts.learning_rate": learning_rate} | ({"darts.decay": decay} if decay else {})

  def network(model: str, sharing: str = "all") -> dict[str, Any]:
    own = {**sizes, **((factors or {}) if model == "dfcnn" else {})}
    shared = {} if model == "prognn" else {"hps.sharing".replace("hps", model): sharing}
    return {"model": model, **{f"{model}.{key}": value for key, value in own.items()}, **shared}

  def static(model: str, sharing: str = "all") -> dict[str, Any]:
    penalty = "" if model in ("hps", "prognn") else "factor_penalty+"
    return {"method": f"{penalty}rmsprop", **network(model, sharing), **rmsprop}

  def searching(method: str, model: str) -> dict[str, Any]:
    own = logits if method == "darts" else {}
    return {"method": f"{method}+rmsprop", **network(model, "searched"), **rmsprop, **own}

  kinds = ("hps", "tf", "dfcnn")
  others = compositions({"rmsprop": rmsprop, "tag": tag}, {"ewc": {}, "er": {}, "agem": {}})
  return {
    **{kind: static(kind) for kind in kinds},
    **{f"lasem_{kind}": searching("lasem", kind) for kind in kinds},
    **{f"darts_{kind}": searching("darts", kind) for kind in ("hps", "dfcnn")},
    "prognn": static("prognn"),
    "single_task": static("hps", "none"),
    "single_network": static("hps"),
    "tag": {**network("hps"), **tag},
    "lasem_hps+tag": {"method": "lasem+tag", **network("hps", "searched"), **tag},
    **{name: {**network("hps"), **values} for name, values in others.items()},
    **{name: {**static(values["model"]), **values} for name, values in (examples or {}).items()},
  }
