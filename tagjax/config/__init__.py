"""Settings: their defaults, their checks, and the objects that are built from them."""
