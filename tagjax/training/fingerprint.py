"""What a checkpoint is of: all that determines its bits, compared before a run goes on from it.

The state of another run may have the same shapes. So each checkpoint tells, in its record,

* `config` and `trials`: what is trained, with which seeds. Another one is another run;
* `data`: digests of the data sets; `code`: tagjax's own modules and the packages that compute;
  `device`: its kind, and on a CPU its model and number of cores, by which convolutions round.

A run under other data, code or devices can go on, but ends with bits that no uninterrupted run has:
that has to be asked for (`accept_changes`), and results.json then names what has changed.
"""

import inspect
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tagjax.benchmarks import digest
from tagjax.core import register
from tagjax.core.errors import WorkdirError
from tagjax.storage.json_files import as_json
from tagjax.storage.workdir import differences, digest_of
from tagjax.training.assemble import Stream
from tagjax.training.trainer import Trial

_NAMED = ("method", "model", "benchmark")
_OF_THE_RUN = ("config", "trials")
_CODE = ("jax", "jaxlib", "flax", "optax", "numpy")
_MOST_NAMED = 20


class Origin(NamedTuple):
  """What a run is, and where it comes from.

  Attributes:
    of: its fingerprint.
    code: see `tagjax.training.provenance.provenance`.
    accept: whether it may go on from a checkpoint of other data, code or devices.
  """

  of: dict[str, Any]
  code: Mapping[str, Any]
  accept: bool


def fingerprint(
  identity: Mapping[str, Any],
  trials: Sequence[Trial],
  parts: tuple[Stream, Any, Any],
  origin: Mapping[str, Any],
) -> dict[str, Any]:
  """What a run is, as JSON values.

  Args:
    identity: see `tagjax.fit`.
    trials: that are trained.
    parts: stream, model and method, see `tagjax.fit`.
    origin: see `tagjax.training.provenance.provenance`.

  Returns:
    An object with the keys `config`, `trials`, `data`, `code` and `device`.
  """
  kind = origin["devices"]
  device = {name: kind[name] for name in ("platform", "kind")}
  if kind["platform"] == "cpu":
    device |= {name: origin[name] for name in ("processor", "cores")}
  packages = {name: origin["packages"].get(name) for name in _CODE}
  return as_json(
    {
      "config": dict(identity),
      "trials": [{"seed": trial.seed, **trial.hyper} for trial in trials],
      "data": digests(parts[0]),
      "code": {
        "tagjax": origin["source"],
        "python": origin["python"],
        **packages,
        **own_sources(identity, parts),
      },
      "device": device,
    }
  )


def own_sources(identity: Mapping[str, Any], parts: Sequence[Any]) -> dict[str, str]:
  """A digest of each module, outside of tagjax and installed packages, that parts come from.

  What `identity` names is found where it is declared, see `tagjax.register`.
  """
  makers = [part if inspect.isroutine(part) else type(part) for part in parts]
  names = [name for key in _NAMED for name in str(identity.get(key, "")).split("+")]
  declarations = [register.find(name.rpartition(":")[2]) for name in names]
  for declared in filter(None, declarations):
    makers.append(inspect.unwrap(declared.make))
  found = {}
  for maker in makers:
    module = sys.modules.get(getattr(maker, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__.split(".")[0] in sys.stdlib_module_names:
      continue
    if module.__name__.startswith("tagjax.") or "site-packages" in file:
      continue
    found[module.__name__] = digest_of(Path(file))[0][:12]
  return found


def digests(stream: Stream) -> dict[str, str]:
  """A digest of each data set of the stream, or one of all examples where nothing else is known."""
  known = getattr(stream, "digests", None)
  if isinstance(known, Mapping):
    return dict(known)
  parts = []
  for task, sizes in enumerate(stream.sizes):
    names = zip(("train", "validation", "test"), sizes, strict=True)
    parts += [getattr(stream[task], name) for name, size in names if size]
  return {"examples": digest.of_examples(parts)}


def check_same(there: Mapping[str, Any], here: Mapping[str, Any], *, accept: bool) -> list[str]:
  """Compares what a checkpoint is of with what goes on from it.

  Args:
    there: the fingerprint in the checkpoint.
    here: the fingerprint of this run.
    accept: whether other data, code and devices are accepted.

  Returns:
    What differs and is accepted, a text each.

  Raises:
    WorkdirError: naming what differs, and the way out.
  """
  found = {part: _differing(part, there, here) for part in here}
  if other := [text for part in _OF_THE_RUN for text in found[part]]:
    raise WorkdirError(
      f"the checkpoints here are of another run: {_told(other)}. Choose another --workdir, or what "
      "they were trained with; or move the folder checkpoints away to start from the beginning"
    )
  changed = [text for texts in found.values() for text in texts]
  if changed and not accept:
    raise WorkdirError(
      f"the checkpoints here were written under others: {_told(changed)}. What goes on from them "
      "ends with other bits: go back to these, or go on with --accept_changes (accept_changes=True "
      "in Python), and results.json will tell"
    )
  return changed


def start(position: int, origin: Mapping[str, Any], changed: Sequence[str]) -> dict[str, Any]:
  """What results.json tells of a start: where it began, by which code, and what it accepted."""
  told = {name: origin[name] for name in ("commit", "dirty", "source")}
  return {"position": position, **told} | ({"changed": list(changed)} if changed else {})


def _differing(part: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
  if part not in there:
    return [f"{part} is not told there"]
  if part == "trials" and len(there[part]) != len(here[part]):
    return [f"there are {len(there[part])} trials there and {len(here[part])} here"]
  pairs = zip(there[part], here[part], strict=True) if part == "trials" else []
  found = (
    itertools.chain.from_iterable(differences(*pair, part) for pair in pairs)
    if part == "trials"
    else differences(there[part], here[part], part)
  )
  return [f"{key} is {one!r:.200} there and {other!r:.200} here" for key, one, other in found]


def _told(texts: Sequence[str]) -> str:
  more = len(texts) - _MOST_NAMED
  return "; ".join(texts[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
