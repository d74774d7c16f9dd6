"""Memories of exemplars: what replay and projection methods keep of the stream.

`reservoir` holds a uniform sample of everything seen; `ring` the last exemplars of each pair of
task and class; `class_quota` as many exemplars of each, chosen once, when their task ends, the
first, random ones or by `herding`. `capacity` turns "so many a class" or "so many in all" into
sizes, `items` says what an exemplar is.
"""

from tagjax.memory import capacity as capacity
from tagjax.memory import class_quota as class_quota
from tagjax.memory import herding as herding
from tagjax.memory import items as items
from tagjax.memory import reservoir as reservoir
from tagjax.memory import ring as ring
from tagjax.memory.found import memories as memories
