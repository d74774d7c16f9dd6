"""A lab's own method, networks and stream, outside tagjax."""

from lab_cl import data, nets, pull  # what registers itself is known once it is imported

__all__ = ["data", "nets", "pull"]
