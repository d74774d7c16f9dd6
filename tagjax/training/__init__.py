"""A run from beginning to end: schedule, trainer, record, grids."""
