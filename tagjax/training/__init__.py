"""A run from beginning to end: schedule, trainer, record, grids."""

import lazy_loader

# Loaded on first use, see `tagjax.cli`.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["compilation_cache", "cpu_devices"])
