"""Several processes that train together, and the folder that they share."""

import lazy_loader

# Loaded on first use, see `tagjax.cli`.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["clusters", "processes"])
