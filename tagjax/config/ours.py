"""Our own declarations, imported: before the user's, who takes `tagjax.register` from here.

Then entry points: what installed packages declare.
"""

import functools
import importlib.metadata

from tagjax import benchmarks as benchmarks
from tagjax import methods as methods
from tagjax import models as models
from tagjax.config.index import GROUP
from tagjax.core.errors import ConfigError, reason
from tagjax.core.register import register as register
from tagjax.training import study as study  # declares the section of that name
from tagjax.training import tuning as tuning  # the same


@functools.cache
def load_entry_points() -> None:
  """Imports what installed packages declare under `[project.entry-points.tagjax]`.

  Raises:
    ConfigError: if one cannot be imported; the import error itself is shown.
  """
  for point in importlib.metadata.entry_points(group=GROUP):
    try:
      point.load()
    except Exception as error:
      raise ConfigError(
        f"the entry point {point.name} = {point.value!r} of tagjax cannot be imported: "
        f"{reason(error)}. Mend or uninstall that package"
      ) from error
