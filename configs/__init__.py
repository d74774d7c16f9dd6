"""Config files: one a stream; FILE.py:METHOD picks a method with its tuned values."""
