import threading

import pytest

from tagjax import datasets
from tagjax.datasets import lock


def test_the_second_waits_for_the_first_and_is_told_so(tmp_path):
  told, order = threading.Event(), []

  def second():
    with lock.exclusive(tmp_path / "set", told.set):
      order.append("second")

  with lock.exclusive(tmp_path / "set", lambda: order.append("told without need")):
    thread = threading.Thread(target=second)
    thread.start()
    assert told.wait(60)
    assert thread.is_alive()
    order.append("first")
  thread.join(60)
  assert order == ["first", "second"]


def test_an_error_frees_it_and_other_folders_have_locks_of_their_own(tmp_path):
  def never():
    raise AssertionError("nobody holds it")

  with pytest.raises(KeyError), lock.exclusive(tmp_path / "set", never):
    raise KeyError
  with lock.exclusive(tmp_path / "set", never), lock.exclusive(tmp_path / "other", never):
    pass


def test_a_folder_that_cannot_be_is_reported(tmp_path):
  (tmp_path / "file").touch()
  with (
    pytest.raises(datasets.DatasetUnavailableError, match="TFDS_DATA_DIR"),
    lock.exclusive(tmp_path / "file" / "set", lambda: None),
  ):
    pass
