"""Where the files that a builder reads are: put in place by hand, downloaded before, or nowhere."""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from tagjax.datasets import archives, folders, network, types
from tagjax.datasets import prepared as prepared_lib


class Item(NamedTuple):
  """A file that a builder reads.

  Attributes:
    wanted: what is known of it.
    path: where it is; None: it is not here.
    downloaded: True if TFDS has downloaded it, and checked it then.
  """

  wanted: archives.Archive | archives.ByHand
  path: pathlib.Path | None = None
  downloaded: bool = False


class Inventory(NamedTuple):
  """All files that a builder reads.

  Attributes:
    folder: where those belong that are put in place by hand.
    items: the files, in the builder's order.
  """

  folder: pathlib.Path
  items: tuple[Item, ...]

  @property
  def present(self) -> list[Item]:
    """The files that are here."""
    return [item for item in self.items if item.path]

  @property
  def to_download(self) -> list[archives.Archive]:
    """The files that are not here and can be downloaded."""
    return [wanted for wanted in self._missing() if isinstance(wanted, archives.Archive)]

  @property
  def to_fetch(self) -> list[archives.ByHand]:
    """The files that are not here and that only the user can fetch."""
    return [wanted for wanted in self._missing() if isinstance(wanted, archives.ByHand)]

  def _missing(self) -> list[archives.Archive | archives.ByHand]:
    return [item.wanted for item in self.items if not item.path]


def take(
  name: str, builder_class: type, root: pathlib.Path, data_dir: folders.PathLike | None
) -> Inventory:
  """Looks for the files of the data set `name`; opens none of them.

  Args:
    name: a name of the catalog.
    builder_class: its builder.
    root: the folder in which the set would be prepared, and to which it would be downloaded.
    data_dir: see `tagjax.datasets.load`.
  """
  wanted = (*archives.of_builder(builder_class), *archives.by_hand(builder_class))
  candidates = [folders.manual_dir(other, name) for other in prepared_lib.roots(name, data_dir)]
  folder = next(
    (path for path in candidates if any(_in_place(one, path) for one in wanted)),
    folders.manual_dir(root, name),
  )
  downloads = root / "downloads" / name
  return Inventory(folder, tuple(_find(one, folder, downloads) for one in wanted))


def _in_place(
  wanted: archives.Archive | archives.ByHand, folder: pathlib.Path
) -> pathlib.Path | None:
  if isinstance(wanted, archives.ByHand):
    return archives.locate(wanted, folder)
  return path if (path := folder / wanted.name).exists() else None


def _find(
  wanted: archives.Archive | archives.ByHand, folder: pathlib.Path, downloads: pathlib.Path
) -> Item:
  path = _in_place(wanted, folder)
  if path is None and isinstance(wanted, archives.Archive):
    path = _downloaded(wanted, downloads)
    return Item(wanted, path, downloaded=path is not None)
  return Item(wanted, path)


def _downloaded(archive: archives.Archive, downloads: pathlib.Path) -> pathlib.Path | None:
  """The file to which TFDS has downloaded the archive: it leaves a note with the URL beside it."""
  for note in downloads.glob("*.INFO"):
    try:
      urls = json.loads(note.read_text()).get("urls", ())
    except (OSError, ValueError, AttributeError):
      continue
    if archive.url in urls and (path := note.with_suffix("")).is_file():
      return path
  return None


def require(name: str, builder_class: type, inventory: Inventory, at_hand: Sequence[str]) -> None:
  """Makes sure that what is missing can be downloaded.

  Args:
    name: the data set.
    builder_class: its builder; its `ELSEWHERE`, if it has one, says where else its files are.
    inventory: its files.
    at_hand: names of the data sets that need no download.

  Raises:
    DatasetUnavailableError: if something must be fetched by hand, or the net cannot be reached;
      says what to fetch, and where to put it.
  """
  if inventory.to_fetch:
    missing, why = inventory.to_fetch, "only you can fetch its files. Fetch these"
  elif inventory.to_download:
    missing = inventory.to_download
    reason = network.why_unreachable(missing[0].url)
    if reason is None:
      return
    why = f"cannot be downloaded ({reason}). Fetch these files elsewhere"
  else:
    return
  files = "\n".join(
    f"  {archives.description(wanted)}\n    from {archives.origin(wanted)}" for wanted in missing
  )
  elsewhere = getattr(builder_class, "ELSEWHERE", "")
  hint = f"{elsewhere}. " if elsewhere else ""
  raise types.DatasetUnavailableError(
    f"{name} is not prepared and {why}:\n"
    f"{files}\nand put them into\n  {inventory.folder}\nor let TFDS_DATA_DIR name a folder where "
    f"{name} is prepared. {hint}Without any download there are: {', '.join(at_hand)}"
  )
