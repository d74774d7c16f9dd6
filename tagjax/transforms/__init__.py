"""Gradient transformations."""
from tagjax.transforms.tag import ScaleByTagState, scale_by_tag, tag, task_relatedness
