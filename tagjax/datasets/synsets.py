"""Names of ImageNet's classes, which WordNet calls sets of synonyms: synsets."""

import collections
from collections.abc import Mapping, Sequence


def class_names(wnids: Sequence[str], words: Mapping[str, str]) -> list[str]:
  """A name for each class that no other class has.

  Args:
    wnids: the numbers of the synsets in WordNet, `"n01440764"`.
    words: the synonyms of each synset, as one text.

  Returns:
    The synonyms; behind those that two classes share, the number too.

  Raises:
    ValueError: if a class has no synonyms.

  >>> class_names(["n1", "n2", "n3"], {"n1": "crane", "n2": "crane", "n3": "tench, Tinca tinca"})
  ['crane (n1)', 'crane (n2)', 'tench, Tinca tinca']
  """
  missing = sorted(set(wnids) - set(words))
  if missing:
    raise ValueError(f"{len(missing)} classes have no name, as {missing[0]}")
  count = collections.Counter(words[wnid] for wnid in wnids)
  return [words[wnid] if count[words[wnid]] == 1 else f"{words[wnid]} ({wnid})" for wnid in wnids]
