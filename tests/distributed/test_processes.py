"""What one process tells the others; what several do is in tests/end_to_end/test_processes.py."""

import jax
import pytest

from tagjax.distributed import processes


def test_processes_that_do_not_meet_are_no_fault_of_the_program():
  text = "UNKNOWN: Gloo context initialization failed: DEADLINE_EXCEEDED:\n GetKeyValue() timed out"
  told = str(processes.come_apart(jax.errors.JaxRuntimeError(text)))
  assert "did not meet for a computation (UNKNOWN: Gloo context" in told
  assert told.endswith("The same command in every process goes on from the last checkpoint")
  assert "\n" not in told


@pytest.mark.parametrize(
  "error",
  [
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"),
    OSError("gloo"),
  ],
)
def test_other_errors_stay_what_they_are(error):
  assert processes.come_apart(error) is None
