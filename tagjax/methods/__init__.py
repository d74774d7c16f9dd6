"""Continual learning methods, one a file."""

from tagjax.methods import naive as naive
from tagjax.methods.tag import tag_method as tag_method
