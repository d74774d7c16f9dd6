"""How the trainings of a run, its lanes, lie on the devices."""

from typing import NamedTuple


class Layout(NamedTuple):
  """How a run lies on the devices.

  The state has a leading axis of devices if there are several, then one of lanes if there are
  several on a device. Every device holds the same, save what is shared out: lanes of its
  own, or its own columns of TAG's rows (`tagjax.transforms.columns`). Where lanes do not come out
  even, copies of the last one fill the last devices up; they are never given out, and not trained
  either if lanes take turns.

  Attributes:
    num_lanes: lanes trained together.
    num_devices: devices used, in all processes together.
    share_lanes: whether the devices share the lanes out instead of each batch.
    share_columns: whether those that share each batch share the columns of TAG's rows as well.
    in_turn: whether the lanes of a device take turns within each call. A lane then gives the same
      bits whatever the number of lanes and of devices that share them out. If not, they run side
      by side under `vmap`.
  """

  num_lanes: int = 1
  num_devices: int = 1
  share_lanes: bool = False
  share_columns: bool = False
  in_turn: bool = False

  @property
  def batch_devices(self) -> int:
    """Devices that share each batch."""
    return 1 if self.share_lanes else self.num_devices

  @property
  def lanes_a_device(self) -> int:
    """Lanes that one device holds, those that fill it up included."""
    return -(-self.num_lanes // self.num_devices) if self.share_lanes else self.num_lanes

  @property
  def places(self) -> int:
    """Lanes that all devices hold, those that fill up included."""
    return self.lanes_a_device * self.num_devices if self.share_lanes else self.num_lanes
