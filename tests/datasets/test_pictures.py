import io

import pytest
from picture_files import encoded, pixels

from tagjax.datasets import members, pictures


def _file(name: str, content: bytes) -> members.Member:
  return members.Member(name, len(content), lambda: io.BytesIO(content))


PICTURE = encoded(pixels(0))
LABELS = {"a.png": 3, "b.png": 4}


def test_examples_are_the_files_that_have_a_label_as_they_came():
  files = [_file(name, PICTURE) for name in ("b.png", "other.png", "a.png")]
  found = list(pictures.examples(files, LABELS, vouched=False))
  assert found == [
    ("b.png", {"file": "b.png", "image": PICTURE, "label": 4}),
    ("a.png", {"file": "a.png", "image": PICTURE, "label": 3}),
  ]


def test_missing_and_doubled_pictures_are_named():
  with pytest.raises(ValueError, match=r"1 of 2 pictures are missing, as b\.png"):
    list(pictures.examples([_file("a.png", PICTURE)], LABELS, vouched=True))
  with pytest.raises(ValueError, match=r"a\.png is there twice"):
    list(pictures.examples([_file("a.png", PICTURE)] * 2, LABELS, vouched=True))


@pytest.mark.parametrize("content", [b"", b"<html>", PICTURE[: len(PICTURE) // 2]])
def test_files_without_a_checksum_are_decoded_to_see_that_they_are_whole(content):
  file = _file("a.png", content)
  with pytest.raises(ValueError, match=r"a\.png is damaged or no picture"):
    pictures.example(file, 0, vouched=False)
  assert pictures.example(file, 0, vouched=True)[1]["image"] == content


def test_another_number_of_pictures_than_published_is_refused():
  pictures.expect("pictures", 5, 5)
  with pytest.raises(ValueError, match="pictures: found 4, but the published set has 5"):
    pictures.expect("pictures", 4, 5)
