"""A-GEM's protocol on glyphs: 3 tasks of 4 characters choose, 12 are judged, without a download.

62 characters in the fonts that come with matplotlib, other fonts at test, 27 attributes of each. An
MLP of 256 and 128 units, one epoch, batches of 10, 5 runs; each run deals its characters out anew.
`je_METHOD` is the same over the joint embedding of the attributes, and
`--config.joint_embedding.shuffle_attributes=1` its control: what the attributes say is wrong then.
There is no published figure; docs/agem_protocol.md has what was measured. Chance is 25 %.

  python launch.py --config=configs/agem_glyphs.py:je_agem
  python launch.py --config=configs/agem_glyphs.py:agem

A minute or two each on a CPU's core, with the grid. `,chosen` has no grid but the rates 0.1.
"""

from configs.common import agem_protocol, agem_tuned, joint, with_attributes
from tagjax.config.defaults import base_config

METHODS = agem_tuned(
  {
    "sgd": 0.1,
    "ewc": (0.1, 10.0),
    "si": (0.1, 0.1),
    "mas": (0.1, 0.1),
    "rwalk": (0.1, 1.0),
    "er": 0.1,
    "agem": 0.1,
    "gem": 0.1,
    "tag": 0.001,
    "agem+tag": 0.001,
  },
  memory=(5, 128),
  update_every=10,
)
TUNED = {**METHODS, **joint(0.1), **with_attributes(METHODS, "mlp")}


def get_config(argument: str = "agem"):
  c = base_config()
  c.benchmark = "split_glyphs"
  c.num_tasks = 15
  c.model = "mlp"
  c.mlp.hidden = (256, 128)
  return agem_protocol(c, TUNED, argument)
