"""Several processes that train together, and the folder that they share."""
