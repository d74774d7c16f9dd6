"""Settings: their defaults, their checks, and the objects that are built from them."""

import lazy_loader

# Loaded on first use: `launch.py --help` needs none of them.
__getattr__, __dir__, __all__ = lazy_loader.attach(
  __name__, ["defaults", "early", "listing", "plugins", "run", "search_flags", "settings"]
)
