"""What the config files of LASEM's streams share: layers shared by hand or by a search; bounds."""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from configs.common import choose, compositions

TENSORFLOW_RMSPROP: Mapping[str, Any] = MappingProxyType(
  {
    "rmsprop.decay": 0.9,
    "rmsprop.eps": 1e-10,
    "rmsprop.eps_in_sqrt": True,
    "rmsprop.initial_scale": 1.0,
  }
)
"""RMSProp as TensorFlow 1 has it."""

KINDS = ("hps", "tf", "dfcnn")


def layers_table(
  learning_rate: float,
  decay: float = 0.0,
  examples: Mapping[str, Mapping[str, Any]] | None = None,
  factors: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
  """The methods that share layers, and what they are compared with.

  Args:
    learning_rate: of RMSProp; TAG's is a twentieth of it.
    decay: of the rate, by epochs of the whole stream.
    examples: further static networks: `{name: {key: value}}`, the model among them.
    factors: the sizes of `dfcnn`'s factors; None: the preset's.

  Returns:
    `{name: {key: value}}`. `single_task` and `single_network` are the bounds: a network for each
    task, and one for all, hidden layers included.
  """
  rate: dict[str, Any] = {"learning_rate": learning_rate}
  if decay:
    rate |= {"schedule": "inverse_time", "schedule_over": "stream", "inverse_time.decay": decay}
  rmsprop = {**rate, **TENSORFLOW_RMSPROP, "fresh_optimizer": True}
  tag = {**rate, "learning_rate": learning_rate / 20, "tag.b": 5.0}
  logits = {"darts.learning_rate": learning_rate} | ({"darts.decay": decay} if decay else {})
  own = {"dfcnn": {f"dfcnn.{key}": value for key, value in (factors or {}).items()}}

  def static(model: str) -> dict[str, Any]:
    penalty = "factor_penalty+" if model in ("tf", "dfcnn") else ""
    return {"method": f"{penalty}rmsprop", "model": model, **own.get(model, {}), **rmsprop}

  def searching(method: str, model: str) -> dict[str, Any]:
    chain = {"method": f"{method}+rmsprop", f"{model}.sharing": "searched"}
    return {**static(model), **chain, **(logits if method == "darts" else {})}

  others = compositions({"rmsprop": rmsprop, "tag": tag}, {"ewc": {}, "er": {}, "agem": {}})
  return {
    **{kind: static(kind) for kind in KINDS},
    **{f"lasem_{kind}": searching("lasem", kind) for kind in KINDS},
    **{f"darts_{kind}": searching("darts", kind) for kind in ("hps", "dfcnn")},
    "prognn": static("prognn"),
    "single_task": {**static("hps"), "hps.sharing": "none"},
    "single_network": static("lasem_cnn"),
    "packnet": {**static("lasem_cnn"), "method": "packnet+rmsprop"},
    "lasem_hps+tag": {"method": "lasem+tag", "model": "hps", "hps.sharing": "searched", **tag},
    "tag": {"model": "hps", **tag},
    **{name: {"model": "hps", **values} for name, values in others.items()},
    **{name: {**static(values["model"]), **values} for name, values in (examples or {}).items()},
  }


def choose_layers(
  config: ConfigDict,
  tuned: Mapping[str, Mapping[str, Any]],
  argument: str,
  local: Mapping[str, Any],
  *,
  depth: int = 0,
) -> ConfigDict:
  """As `choose`; `brute_force`, `brute_force_tf` and `brute_force_dfcnn` are grids.

  Args:
    config: the stream's config.
    tuned: see `choose`.
    argument: see `choose`.
    local: see `choose`.
    depth: convolutions of the network, of which brute force tries all configurations; 0: it is not
      offered.
  """
  name, *options = argument.split(",")
  grids = {"brute_force": "hps", "brute_force_tf": "tf", "brute_force_dfcnn": "dfcnn"}
  if not depth or name not in grids:
    return choose(config, tuned, argument, local)
  kind = grids[name]
  choose(config, tuned, ",".join([kind, *options]), local)
  rows = ["".join(row) for row in itertools.product("TF", repeat=depth)]
  config.sweep = {f"{kind}.sharing": rows}
  return config
