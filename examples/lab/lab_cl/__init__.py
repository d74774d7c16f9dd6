from lab_cl import nets, pull  # noqa: F401  (importing them registers their names)
