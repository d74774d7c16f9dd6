"""Every other optimizer and every schedule of Optax, by its own name.

Those that have a declaration of their own under the same name (`tagjax.methods.naive`,
`tagjax.transforms.radam`) keep the form that they have there.
"""

from tagjax.core.register import find, parameters, register
from tagjax.methods import naive  # noqa: F401  (its declarations come first)
from tagjax.transforms import optax_optimizers, optax_schedules

for _name, _optimizer in optax_optimizers().items():
  if find(_name) is None:
    _has_rate = "learning_rate" in parameters(_optimizer)  # polyak_sgd finds its own
    register(_name, kind="optimizer", traced=("learning_rate",) * _has_rate)(_optimizer)
for _name, _schedule in optax_schedules().items():
  if find(_name) is None:
    register(_name, kind="schedule")(_schedule)
