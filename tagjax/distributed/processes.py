"""Several processes, on one host or many, that train together: joined, compared and watched.

Every process runs the same program on devices of its own and meets the others in the averages of
the gradients. Process 0 alone writes. If one process ends early, the others would wait for it
forever: `together` ends them too, with a line that says why.
"""

import atexit
import contextlib
import ctypes
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # the processes' store of texts has no public name
from jax.experimental import multihost_utils

from tagjax.core import faults
from tagjax.core.errors import ConfigError, InterruptedRun, TagjaxError
from tagjax.storage.workdir import differences

START_SECONDS = 120  # that processes may start apart
_BEAT_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0  # without a sign of life of another process
_SUSPICIOUS_SECONDS = 5.0  # the same, once talking to it has failed
_FOREVER_MS = 7 * 24 * 3600 * 1000  # `together` ends the wait if nobody answers any more
_ALIVE, _ENDED, _FAILED = "tagjax/alive", "ended", "failed: "
_AGAIN = "The same command in every process goes on from the last checkpoint"
_exchanges = itertools.count()


class HostsError(TagjaxError):
  """The processes cannot find each other, or one of them has gone."""


def join(
  coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
  """Joins this process to the others; to be called before JAX has touched a device.

  Args:
    coordinator: `HOST:PORT` of process 0; None: SLURM, Open MPI, Kubernetes or the TPU pod tells.
    num_processes: how many there are.
    process_id: which this is, from 0.

  Raises:
    HostsError: if no cluster is found, or an argument cannot be. Processes that do not all come
      within `START_SECONDS` are ended by XLA, see `_last_words`.
  """
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM away from us
  where = coordinator or "the address that the cluster tells"
  _last_words(
    f"not all processes came together at {where} within {START_SECONDS} s: start every one of "
    "them, and let process 0 be reached there"
  )
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      cluster_detection_method="deactivate" if coordinator else None,
      initialization_timeout=START_SECONDS,
    )
  except (ValueError, RuntimeError, OSError) as error:
    raise HostsError(
      f"cannot join the other processes ({' '.join(str(error).split())}): give --coordinator="
      "HOST:PORT --num_processes=N --process_id=I, or --distributed under SLURM"
    ) from error
  if distributed.global_state.process_id == 0:
    _last_words(f"XLA has aborted this process, its account is above. {_AGAIN}")
  else:
    _last_words(f"process 0 has ended or cannot be reached. {_AGAIN}")


def is_writer() -> bool:
  """Whether this is the process that writes: the first, or the only one."""
  return jax.process_index() == 0


def exchange(text: str) -> list[str]:
  """Gives `text` to all processes, and returns what each of them gave, in order.

  All processes must call it in the same order; it waits for the last.
  """
  if jax.process_count() == 1:
    return [text]
  store, place = distributed.global_state.client, f"tagjax/exchange/{next(_exchanges)}"
  store.key_value_set(f"{place}/{jax.process_index()}", text)
  return [
    store.blocking_key_value_get(f"{place}/{process}", _FOREVER_MS)
    for process in range(jax.process_count())
  ]


def any_process(flag: bool) -> bool:
  """Whether `flag` holds in any process; all must ask, and get the same answer."""
  if jax.process_count() == 1:
    return flag
  return bool(multihost_utils.process_allgather(np.array(flag)).any())


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
  """Lets process 0 through the block before the others: what it downloads they find."""
  if not is_writer():
    exchange("")
  yield
  if is_writer():
    exchange("")


def check_same(settings: dict[str, Any]) -> None:
  """Compares the settings of all processes.

  Args:
    settings: JSON values; its keys are how the message names them.

  Raises:
    ConfigError: naming what differs; in every process.
  """
  every = [json.loads(text) for text in exchange(json.dumps(settings))]
  for process, other in enumerate(every):
    found = [
      f"{key} is {first!r} in process 0 and {value!r} in process {process}"
      for key, first, value in differences(every[0], other)
    ]
    if found:
      raise ConfigError(
        f"{'; '.join(found)}: give every process the same command, code and kind of device"
      )


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Runs the block in all processes or in none.

  An error in one ends the others with a line that repeats it; so does a process that gives no sign
  of life for some seconds. `InterruptedRun` is taken to happen in all of them.
  """
  if jax.process_count() == 1:
    yield
    return
  watch = _Watch()
  watch.start()
  try:
    yield
  except InterruptedRun:
    watch.end(_ENDED)
    jax.distributed.shutdown()  # waits for all
    raise
  except TagjaxError as error:
    watch.fail(error)
    raise
  except BaseException as error:
    watch.suspect()  # it does not return if the error is another process's death
    if (apart := come_apart(error)) is not None:
      watch.fail(apart)
      raise apart from error
    watch.fail(error)
    raise
  watch.end(_ENDED)
  jax.distributed.shutdown()


def come_apart(error: BaseException) -> HostsError | None:
  """The error to tell if a computation that processes share did not find all of them in time.

  >>> come_apart(ValueError("Gloo")) is None
  True
  """
  text = " ".join(f"{error}".split())
  if not isinstance(error, jax.errors.JaxRuntimeError) or "gloo" not in text.lower():
    return None
  return HostsError(
    f"the processes live, but did not meet for a computation ({text:.200}): one of them is much "
    f"slower, or the network between them fails. {_AGAIN}"
  )


class _Watch(threading.Thread):
  """Gives signs of life, and ends the process when another one gives none."""

  def __init__(self):
    super().__init__(name="tagjax hosts", daemon=True)
    self._store = distributed.global_state.client
    self._own = f"{_ALIVE}/{jax.process_index()}"
    self._patience = _PATIENCE_SECONDS
    self._seen: dict[int, tuple[str, float]] = {}
    self._over = threading.Event()
    self._answered = time.monotonic()

  def run(self) -> None:
    threading.Thread(target=self._watch_store, daemon=True).start()
    for beat in itertools.count():
      self._answered = time.monotonic()
      if self._over.wait(_BEAT_SECONDS):
        return
      try:
        self._tell(str(beat))
        signs = dict(self._store.key_value_dir_get(_ALIVE))
      except jax.errors.JaxRuntimeError:
        _leave(f"process 0 has ended or cannot be reached. {_AGAIN}")
      for process in range(jax.process_count()):
        fault = self._fault(process, signs.get(f"{_ALIVE}/{process}", ""))
        if fault and not self._over.is_set():
          _leave(f"process {process} {fault}")

  def _watch_store(self) -> None:
    """Ends the process when the store, which is in process 0, does not even refuse to answer."""
    while not self._over.wait(_BEAT_SECONDS):
      if time.monotonic() - self._answered > _PATIENCE_SECONDS:
        _leave(f"process 0 does not answer. {_AGAIN}")

  def _fault(self, process: int, sign: str) -> str:
    """What is wrong with the process; empty if nothing is."""
    if sign.startswith(_FAILED):
      return sign
    now = time.monotonic()
    last, since = self._seen.get(process, (None, now))
    if sign != last:
      self._seen[process] = (sign, now)
    elif sign != _ENDED and now - since > self._patience:
      return f"has ended or cannot be reached. {_AGAIN}"
    return ""

  def _tell(self, sign: str) -> None:
    self._store.key_value_set(self._own, sign, allow_overwrite=True)

  def suspect(self) -> None:
    """Gives the watch the time to find out that another process has gone."""
    self._patience = _SUSPICIOUS_SECONDS
    time.sleep(_SUSPICIOUS_SECONDS + 2 * _BEAT_SECONDS)

  def end(self, sign: str) -> None:
    """Stops watching, with a last sign."""
    self._over.set()
    self.join()
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # if process 0 has gone, nobody reads it
      self._tell(sign)

  def fail(self, error: BaseException) -> None:
    """Tells the others of an error; this process then ends without waiting for them."""
    atexit.register(_end_at_once)  # runs before JAX's own, which waits
    text = faults.of_system(error) or " ".join(f"{error}".split()) or type(error).__name__
    self.end(f"{_FAILED}{text}")
    if is_writer():
      time.sleep(3 * _BEAT_SECONDS)  # what it has told goes with it


def _leave(text: str) -> None:
  """Ends the process though its main thread waits, for a process that will not come."""
  if sys.stderr.isatty():
    print("\x1b[?25h", file=sys.stderr)  # the line of progress hides the cursor
  print(f"error: {text}", file=sys.stderr, flush=True)
  _end_at_once()


def _end_at_once() -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(1)


def _last_words(text: str) -> None:
  """Ends an abort by XLA, which prints pages when process 0 has gone, with one line and code 1.

  XLA aborts in a thread of its own and Python's handlers run in the main thread, which may wait
  forever: so the handler is C's.
  """
  global _handler
  line = f"error: {text}\n".encode()

  def on_abort(number):
    del number
    os.write(2, line)
    os._exit(1)

  _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
  install = ctypes.CDLL(None).signal
  install.argtypes, install.restype = (ctypes.c_int, type(_handler)), ctypes.c_void_p
  install(signal.SIGABRT, _handler)


_handler = None  # C holds no reference to it
