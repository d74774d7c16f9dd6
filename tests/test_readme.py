"""The README's example runs, and what the documents point to is there."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_example():
  result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
  assert result.attempted > 5
  assert result.failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
  links = re.findall(r"\]\(<?([^)#>]+)", path.read_text())
  missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
  assert not missing
