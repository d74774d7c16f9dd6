"""Checkpoints: same bits back, every kind of damage noticed, kill -9 survived."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tagjax.storage import checkpoint
from tagjax.storage.checkpoint import CheckpointError, CheckpointMismatchError, Checkpoints


def a_state(value=0.0):
  return {
    # Random, so that the file cannot compress it: a flipped bit of it is restored without a word.
    "weight": jax.random.normal(jax.random.key(int(value)), (40, 50)),
    "key": jax.random.key(int(value)),
    "memory": jnp.zeros((0, 3)),
    "nothing": (None, ()),
    "step": jnp.int32(value),
  }


def assert_same_state(state, value):
  expected = a_state(value)
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
    if jnp.issubdtype(want.dtype, jax.dtypes.prng_key):
      got, want = jax.random.key_data(got), jax.random.key_data(want)
    assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def written(directory, positions=(1, 2), keep=2):
  with Checkpoints(directory, keep=keep) as checkpoints:
    for position in positions:
      checkpoints.save(position, a_state(position), {"task": position})
  return Path(directory)


def data_files(directory, position):
  """The files that hold the arrays of a checkpoint, largest first."""
  files = (Path(directory) / str(position) / "state").rglob("d/*")
  return sorted(files, key=lambda file: -file.stat().st_size)


def restored_after(directory):
  """What a new process would restore, and what it would say."""
  said = []
  with Checkpoints(directory, warn=said.append) as checkpoints:
    return checkpoints.restore_latest(a_state()), said


def test_round_trip(tmp_path):
  written(tmp_path)
  restored, said = restored_after(tmp_path)
  assert (restored.position, restored.progress, said) == (2, {"task": 2}, [])
  assert_same_state(restored.state, 2)


def test_an_empty_directory_has_nothing_to_restore(tmp_path):
  with Checkpoints(tmp_path / "a folder" / "new") as checkpoints:
    assert checkpoints.is_empty()
    assert checkpoints.restore_latest(a_state()) is None
    checkpoints.save(1, a_state(), {})
    checkpoints.wait()
    assert not checkpoints.is_empty()


def test_a_state_without_leaves(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(0, (None, ()), {})
    assert checkpoints.restore_latest((None, ())) == (0, (None, ()), {})


def test_progress_comes_back_with_the_same_bits(tmp_path):
  values = np.random.default_rng(0).standard_normal(100) * 10.0 ** np.arange(-50, 50)
  progress = {
    "floats": values,
    "single": np.float32(0.1),
    "odd": [float("nan"), float("inf"), -0.0, 5e-324, None],
    "nested": {"count": np.int64(2**62), "flag": np.bool_(True), "text": "é"},
  }
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {}, progress)
    back = checkpoints.restore_latest({}).progress
  assert np.array(back["floats"]).tobytes() == values.tobytes()
  assert np.float32(back["single"]) == np.float32(0.1)
  assert back["odd"][0] != back["odd"][0]
  assert back["odd"][1:] == [float("inf"), -0.0, 5e-324, None]
  assert np.signbit(back["odd"][2])
  assert back["nested"] == {"count": 2**62, "flag": True, "text": "é"}


@pytest.mark.parametrize(
  ("progress", "message"),
  [
    ({"a": [{3: 1}]}, r"progress\['a'\]\[0\] has the key 3.*'3'"),
    ({"a": object()}, "holds a object"),
  ],
)
def test_progress_that_is_no_json_is_refused(tmp_path, progress, message):
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(TypeError, match=message):
      checkpoints.save(1, {}, progress)
    assert checkpoints.positions() == []


def test_the_newest_are_kept(tmp_path):
  with Checkpoints(tmp_path, keep=3) as checkpoints:
    for position in range(6):
      checkpoints.save(position, a_state(position), {})
    checkpoints.wait()
    assert checkpoints.positions() == [3, 4, 5]


@pytest.mark.parametrize("position", [2, 1])
def test_a_position_cannot_be_saved_twice_or_before(tmp_path, position):
  written(tmp_path)
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(ValueError, match=f"position {position} must be larger than 2"),
  ):
    checkpoints.save(position, a_state(), {})


def test_keep_must_be_positive(tmp_path):
  with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
    Checkpoints(tmp_path, keep=0)


def test_a_directory_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*file"):
    Checkpoints(tmp_path / "file" / "checkpoints")


def test_buffers_may_be_donated_right_after_save(tmp_path):
  step = jax.jit(lambda x: x + 1, donate_argnums=0)
  weight = jnp.zeros((1000, 1000))
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    for position in range(4):
      checkpoints.save(position, weight, {})
      weight = step(weight)
    jax.block_until_ready(weight)
    restored = checkpoints.restore_latest(jnp.zeros((1000, 1000)))
  np.testing.assert_array_equal(restored.state, np.full((1000, 1000), 3.0))


def test_a_state_of_another_shape_is_refused_with_the_difference(tmp_path):
  written(tmp_path)
  template = {**a_state(), "weight": jnp.zeros((40, 51)), "extra": jnp.zeros(())}
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(CheckpointMismatchError) as caught:
      checkpoints.restore_latest(template)
    assert checkpoints.positions() == [1, 2]
  assert "['weight']: saved float32[40, 50], expected float32[40, 51]" in str(caught.value)
  assert "['extra']: saved nothing, expected float32[]" in str(caught.value)


def flip_a_bit(file):
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 4
  file.write_bytes(bytes(content))


def flip_array_data(directory):
  flip_a_bit(data_files(directory, 2)[0])


def truncate(directory):
  file = data_files(directory, 2)[0]
  os.truncate(file, file.stat().st_size // 2)


def empty_files(directory):
  for file in (directory / "2").rglob("*"):
    if file.is_file():
      os.truncate(file, 0)


def delete_array_data(directory):
  data_files(directory, 2)[0].unlink()


def delete_state(directory):
  shutil.rmtree(directory / "2" / "state")


def delete_progress(directory):
  shutil.rmtree(directory / "2" / "progress")


def change_progress(directory):
  file = directory / "2" / "progress" / "metadata"
  record = json.loads(file.read_text())
  record["progress"]["task"] = 3
  file.write_text(json.dumps(record))


def change_leaves(directory):
  file = directory / "2" / "progress" / "metadata"
  record = json.loads(file.read_text())
  record["leaves"].pop()
  file.write_text(json.dumps(record))


def copy_another(directory):
  shutil.rmtree(directory / "2")
  shutil.copytree(directory / "1", directory / "2")


def empty_folder(directory):
  shutil.rmtree(directory / "2")
  (directory / "2").mkdir()


DAMAGES = [
  flip_array_data,
  truncate,
  empty_files,
  delete_array_data,
  delete_state,
  delete_progress,
  change_progress,
  change_leaves,
  copy_another,
  empty_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_used(tmp_path, damage):
  damage(written(tmp_path))
  restored, said = restored_after(tmp_path)
  assert (restored.position, restored.progress) == (1, {"task": 1})
  assert_same_state(restored.state, 1)
  assert len(said) == 1
  assert said[0].startswith("checkpoint 2 is damaged (")
  assert said[0].endswith("going on from 1")
  assert "\n" not in said[0]
  assert (tmp_path / "damaged" / "2").is_dir()


def test_every_single_flipped_bit_is_noticed_or_harmless(tmp_path):
  """Flips one bit in each file of the checkpoint, in three places: never wrong bits back."""
  source = written(tmp_path / "source")
  files = [file.relative_to(source) for file in (source / "2").rglob("*") if file.is_file()]
  noticed = 0
  for file in files:
    content = (source / file).read_bytes()
    for place in {0, len(content) // 2, len(content) - 1} if content else ():
      target = tmp_path / "target"
      shutil.copytree(source, target)
      changed = bytearray(content)
      changed[place] ^= 1
      (target / file).write_bytes(bytes(changed))
      restored, said = restored_after(target)
      assert_same_state(restored.state, restored.position)
      assert restored.position == 2 - len(said)
      noticed += len(said)
      shutil.rmtree(target)
  assert noticed >= 3


def test_the_run_goes_on_over_a_damaged_position(tmp_path):
  flip_array_data(written(tmp_path))
  for _ in range(2):
    with Checkpoints(tmp_path, warn=lambda text: None) as checkpoints:
      assert checkpoints.restore_latest(a_state()).position == 1
      checkpoints.save(2, a_state(5), {"task": 5})
    restored, said = restored_after(tmp_path)
    assert (restored.position, restored.progress, said) == (2, {"task": 5}, [])
    flip_array_data(tmp_path)
  restored_after(tmp_path)
  assert sorted(entry.name for entry in (tmp_path / "damaged").iterdir()) == ["2", "2_2", "2_3"]


def test_damage_is_printed_to_stderr_by_default(tmp_path, capfd):
  flip_array_data(written(tmp_path))
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.restore_latest(a_state())
  out, err = capfd.readouterr()
  assert out == ""
  assert err.startswith("warning: checkpoint 2 is damaged (its sha256 differs")
  assert len(err.splitlines()) == 1


def test_all_damaged_is_an_error_that_names_the_way_out(tmp_path):
  written(tmp_path)
  for position in (1, 2):
    flip_a_bit(data_files(tmp_path, position)[0])
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(CheckpointError) as caught:
      checkpoints.restore_latest(a_state())
    assert checkpoints.positions() == [1, 2]
  text = str(caught.value)
  assert f"all checkpoints in {tmp_path} are damaged (2: its sha256" in text
  assert "; 1: its sha256" in text
  assert "delete that directory to start from the beginning" in text


@pytest.mark.parametrize("name", ["7", "damaged", "3.orbax-checkpoint-tmp"])
def test_links_in_the_directory_are_refused(tmp_path, name):
  (tmp_path / "precious").mkdir()
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
  with pytest.raises(CheckpointError, match=f"{name} is a link"):
    Checkpoints(tmp_path / "run")


@pytest.mark.parametrize("name", ["²", "0099", "٣"])
def test_other_folders_are_no_checkpoints(tmp_path, name):
  (tmp_path / name).mkdir(parents=True)
  written(tmp_path)
  restored, said = restored_after(tmp_path)
  assert (restored.position, said) == (2, [])


@pytest.mark.parametrize("place", ["progress/metadata", "state/extra"])
def test_a_checkpoint_reads_nothing_from_elsewhere(tmp_path, place):
  written(tmp_path)
  file = tmp_path / "2" / place
  file.unlink(missing_ok=True)
  file.symlink_to("/dev/zero")
  restored, (said,) = restored_after(tmp_path)
  assert restored.position == 1
  assert "is neither a file nor a folder" in said


def test_a_state_that_is_declared_large_is_not_made(tmp_path, monkeypatch):
  written(tmp_path)
  monkeypatch.setattr(checkpoint, "_most_bytes", lambda template: 100)
  with pytest.raises(CheckpointError, match=r"declares \d+ bytes, more than the 100 that"):
    restored_after(tmp_path)
  monkeypatch.undo()
  assert 8000 < checkpoint._most_bytes(a_state()) == 2**28


def test_leftovers_of_a_killed_save_are_removed(tmp_path):
  written(tmp_path)
  leftover = tmp_path / "9.orbax-checkpoint-tmp"
  shutil.copytree(tmp_path / "2", leftover)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore_latest(a_state()).position == 2
    checkpoints.save(3, a_state(3), {"task": 3})  # Orbax cleans up in the background until then
    assert checkpoints.restore_latest(a_state()).progress == {"task": 3}
  assert sorted(entry.name for entry in tmp_path.iterdir()) == ["2", "3"]


def test_a_failed_background_write_is_raised(tmp_path, monkeypatch):
  checkpoints = Checkpoints(tmp_path)

  def fail():
    raise OSError("No space left on device")

  monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
  with pytest.raises(CheckpointError, match="No space left on device; check that the disk"):
    checkpoints.save(1, a_state(), {})
  monkeypatch.undo()
  checkpoints.close()


def test_nothing_is_written_any_more_after_an_error_at_the_end(tmp_path, monkeypatch):
  """Orbax does not wait for what it writes in the background while it has an error to raise."""
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, a_state(), {})
  close, calls = checkpoints._manager.close, []

  def fail_once():
    calls.append(1)
    if len(calls) == 1:
      raise OSError("No space left on device")
    close()

  monkeypatch.setattr(checkpoints._manager, "close", fail_once)
  with pytest.raises(CheckpointError, match="No space left on device; check that the disk"):
    checkpoints.close()
  assert len(calls) == 2


def test_orbax_says_nothing(tmp_path, capfd):
  flip_array_data(written(tmp_path))
  restored_after(tmp_path)
  assert capfd.readouterr() == ("", "")
  assert checkpoint._is_not_orbax in checkpoint.logging.getLogger("absl").filters


@pytest.mark.slow
def test_kill_minus_nine_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
  program = textwrap.dedent("""
    import sys
    import jax.numpy as jnp
    from tagjax.storage.checkpoint import Checkpoints
    checkpoints = Checkpoints(sys.argv[1])
    template = {"weight": jnp.zeros((300, 300))}
    restored = checkpoints.restore_latest(template)
    position = restored.position if restored else 0
    if restored:
      assert (restored.state["weight"] == position).all(), "wrong state"
      assert restored.progress == {"task": position}, "wrong progress"
    print(position, flush=True)
    while True:
      position += 1
      checkpoints.save(position, {"weight": jnp.full((300, 300), float(position))},
                       {"task": position})
      print(position, flush=True)
  """)
  delays = np.random.default_rng(0).uniform(0.0, 0.4, 4)
  last = 0
  for delay in delays:
    process = subprocess.Popen(
      [sys.executable, "-c", program, str(tmp_path)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
      cwd=Path(__file__).parents[2],
    )
    first = process.stdout.readline()
    rest = process.stdout.readline()  # at least one save has begun, however slow the machine
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    more, errors = process.communicate()
    rest += more
    assert first, errors.decode()
    start = int(first)
    # What save() had returned for before the last call is finished, and must be there.
    assert start >= last - 1
    last = int(rest.split()[-1])
    assert b"damaged" not in errors
  assert last > 0
  with Checkpoints(tmp_path) as checkpoints:
    restored = checkpoints.restore_latest({"weight": jnp.zeros((300, 300))})
  assert restored.position >= last - 1
  np.testing.assert_array_equal(restored.state["weight"], np.full((300, 300), restored.position))


def test_another_process_reads_one_checkpoint_and_writes_nothing(tmp_path):
  written(tmp_path, positions=(1, 2))
  before = sorted(path for path in tmp_path.rglob("*"))
  restored = checkpoint.restore(tmp_path, 1, a_state())
  assert_same_state(restored.state, 1)
  assert (restored.position, restored.progress) == (1, {"task": 1})
  with pytest.raises(CheckpointError, match=f"cannot read checkpoint {tmp_path / '3'}"):
    checkpoint.restore(tmp_path, 3, a_state())
  with pytest.raises(CheckpointMismatchError, match="does not fit"):
    checkpoint.restore(tmp_path, 1, {"weight": jnp.zeros(2)})
  assert sorted(path for path in tmp_path.rglob("*")) == before
