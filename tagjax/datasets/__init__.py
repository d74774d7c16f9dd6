"""Data sets as uint8 arrays, prepared by TFDS builders of our own, without TensorFlow."""

from tagjax.datasets.catalog import names
from tagjax.datasets.image_folder import load_folder
from tagjax.datasets.loader import load
from tagjax.datasets.types import Dataset, DatasetUnavailableError, Examples

__all__ = ["Dataset", "DatasetUnavailableError", "Examples", "load", "load_folder", "names"]
