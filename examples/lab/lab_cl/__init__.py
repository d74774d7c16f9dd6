from lab_cl import data, nets, pull  # noqa: F401  (importing them registers their names)
