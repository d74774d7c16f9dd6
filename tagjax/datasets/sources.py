"""The files of a data set, whether they lie in a folder or in an archive."""

import pathlib
from collections.abc import Collection, Iterator

from tagjax.datasets import members


def files(
  path: pathlib.Path, *, max_bytes: int, max_members: int = members.MAX_MEMBERS
) -> Iterator[members.Member]:
  """The files of a folder, of a tar or of a zip; hidden ones are left out.

  Archives of folders made on a Mac hold a hidden twin of every file. A folder's own name comes
  first in the names of its files, as it does in an archive of that folder.

  Args:
    path: the folder or the archive.
    max_bytes: see `members.members`; a folder is not bounded, for it has been unpacked already.
    max_members: see `members.members`.

  Yields:
    One file after another, in the archive's order, of a folder sorted by name.

  Raises:
    ValueError: as `members.members` does.
  """
  found = (
    _files_of_folder(path)
    if path.is_dir()
    else members.members(path, max_bytes=max_bytes, max_members=max_members)
  )
  return (file for file in found if not _is_hidden(file.name))


def _files_of_folder(folder: pathlib.Path) -> Iterator[members.Member]:
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
      yield members.Member(name, path.stat().st_size, lambda path=path: path.open("rb"))


def _is_hidden(name: str) -> bool:
  return any(part.startswith(".") for part in name.split("/"))


def texts(
  path: pathlib.Path, names: Collection[str], *, max_bytes: int, optional: Collection[str] = ()
) -> dict[str, str]:
  """The content of some text files, under their names.

  Args:
    path: see `files`.
    names: the files.
    max_bytes: see `files`.
    optional: files that may be missing.

  Raises:
    ValueError: as `files` does, and if one is missing.
  """
  found = {
    file.name: file.read().decode()
    for file in files(path, max_bytes=max_bytes)
    if file.name in names or file.name in optional
  }
  missing = sorted(set(names) - set(found))
  if missing:
    raise ValueError(f"{path} has no file {', '.join(missing)}")
  return found
