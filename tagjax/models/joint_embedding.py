"""Joint embedding: classes are known by their attributes, so that unseen ones have logits too."""

import inspect
from collections.abc import Sequence
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from numpy.typing import ArrayLike

from tagjax.core.register import register
from tagjax.core.types import StreamSpec

_STDDEV = 0.1
_BIAS = 0.1
_OFFERED = ("task_id", "mask", "train")


class JointEmbedding(nn.Module):
  """A network of features, and an embedding of the classes' attributes into their space.

      logits = φ(x) (Â W)ᵀ + b

  φ `[B, d]` are the features of any network, Â `[K, a]` the attributes of the classes, each row
  divided by its L2 norm, W `[a, d]` and b `[K]` parameters. A class without a training example has
  a meaningful logit as soon as W has been learnt from others. φ, W and b are trained together, and
  methods take them for ordinary parameters. W starts as a normal distribution of standard deviation
  0.1 cut off at two of them, b at 0.1, which is the same for all classes that were never trained.

  Â is the variable "rows" of the collection "attributes", which nothing trains: streams with other
  attributes run the same compiled programs.

  Attributes:
    features: a Flax Linen module whose call has an argument `features`; its head is not used.
    attributes: K rows of a numbers, as the stream has them (`spec.attributes`); rows of zeros, of
      outputs that no task teaches, stay zero.
    shuffle_attributes: seed by which the classes exchange their rows, for a control: the numbers
      are the same, what they say is wrong. None: each class has its own.
    axis_name: mapped axis of devices, which `features` is told if it has a field of that name.

  References:
    Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019,
    https://arxiv.org/abs/1812.00420

  Differs from the reference code: that zeroes the rows of the classes that are not at hand, which
  changes no logit of a task's own outputs and no gradient.

  >>> import jax, jax.numpy as jnp
  >>> from tagjax.models import MLP
  >>> image, rows = jnp.zeros((4, 8, 8, 1)), jnp.zeros(4, jnp.int32)
  >>> call = {"task_id": rows, "mask": rows == 0, "train": False}
  >>> model = JointEmbedding(MLP(2, hidden=(5,)), attributes=((3.0, 4.0, 0.0), (0.0, 0.0, 1.0)))
  >>> variables = model.init(jax.random.key(0), image, **call)
  >>> variables["params"]["embedding"].shape, model.apply(variables, image, **call).shape
  ((3, 5), (4, 2))
  """

  features: nn.Module
  attributes: tuple[tuple[float, ...], ...]
  shuffle_attributes: int | None = None
  axis_name: str | None = None

  def __post_init__(self):
    _check_network(self.features)
    object.__setattr__(self, "attributes", _as_rows(self.attributes))
    if self.shuffle_attributes is not None and self.shuffle_attributes < 0:
      raise ValueError(f"shuffle_attributes must be at least 0, got {self.shuffle_attributes}")
    if getattr(self.features, "axis_name", self.axis_name) != self.axis_name:
      object.__setattr__(self, "features", self.features.clone(axis_name=self.axis_name))
    super().__post_init__()

  @nn.compact
  def __call__(
    self,
    image: chex.Array,
    *,
    task_id: chex.Array,
    mask: chex.Array,
    train: bool,
    features: bool = False,
  ) -> chex.Array:
    """Computes the logits.

    Args:
      image: float `[B, ...]`, whatever the network of features takes.
      task_id: int32 `[B]`, for that network.
      mask: bool `[B]`, for that network.
      train: whether this is a training pass.
      features: whether to return φ instead.

    Returns:
      Logits `[B, K]`, or features `[B, d]`.

    Raises:
      ValueError: if the features are not `[B, d]`.
    """
    call = {"task_id": task_id, "mask": mask, "train": train}
    names = _names_of_call(self.features)
    phi = self.features(image, **{n: v for n, v in call.items() if n in names}, features=True)
    if phi.ndim != 2:
      raise ValueError(f"the features are {phi.shape}, must be [B, d]")
    if features:
      return phi
    rows = self.variable("attributes", "rows", self._unit_rows).value
    num_classes, num_attributes = rows.shape
    start = nn.initializers.truncated_normal(_STDDEV)
    embedding = self.param("embedding", start, (num_attributes, phi.shape[-1]), jnp.float32)
    bias = self.param("bias", nn.initializers.constant(_BIAS), (num_classes,), jnp.float32)
    return phi @ (rows.astype(embedding.dtype) @ embedding).T + bias[None]

  def _unit_rows(self) -> chex.Array:
    """Â: rows of norm 1, or of zeros."""
    rows = np.array(self.attributes, np.float64)
    if self.shuffle_attributes is not None:
      rows = shuffled(rows, self.shuffle_attributes)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return jnp.asarray(np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0))

  def torch_names(self) -> dict[str, str | None]:
    """Layers -> PyTorch's names; see `tagjax.models.torch_weights`. W and b are new.

    Raises:
      ValueError: if the network of features takes no weights from a file.
    """
    if not hasattr(self.features, "torch_names"):
      raise ValueError(f"{type(self.features).__name__} takes no weights from a file")
    names = self.features.torch_names()
    inner = {f"features/{layer}": name for layer, name in names.items()}
    return {**inner, "head": names["head"], "": None}


@register("joint_embedding", kind="model", holds=("features",))
def joint_embedding(
  features: Any = "mlp",
  shuffle_attributes: int | None = None,
  *,
  spec: StreamSpec,
  axis_name: str | None = None,
) -> JointEmbedding:
  """Logits from the attributes of the classes, so that classes not yet seen have some too.

  Args:
    features: a Flax Linen module, whose features are embedded; on the command line the name of a
      model, whose options are those of its own section.
    shuffle_attributes: seed by which the classes exchange their attributes, for a control; none:
      each class has its own.
    spec: the stream; its attributes are those of its outputs.
    axis_name: see `JointEmbedding`.

  Returns:
    The model.

  Raises:
    ValueError: if the stream has no attributes, or not of all classes that its tasks teach, or
      `features` is no network with features.

  >>> import tagjax
  >>> image, label = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
  >>> stream = tagjax.Stream.from_arrays(
  ...   "mine", [(image, label, image, label)], attributes=[[1, 0], [1, 1]]
  ... )
  >>> joint_embedding(tagjax.models.MLP(2, hidden=(8,)), spec=stream.spec).attributes
  ((1.0, 0.0), (1.0, 1.0))
  """
  check_attributes(spec)
  return JointEmbedding(features, spec.attributes, shuffle_attributes, axis_name)


def check_attributes(spec: StreamSpec) -> None:
  """Refuses a stream whose tasks teach classes without attributes.

  Raises:
    ValueError: with the reason and the way out.
  """
  if spec.attributes is None:
    shared = ", or its outputs stand for several classes each (scenario 'domain')"
    raise ValueError(
      "a joint embedding needs attributes of the classes, and the stream has none"
      f"{shared if spec.scenario == 'domain' else ''}: choose one that has (split_glyphs, "
      "split_cub, split_awa2), or give your own, see docs/zero_shot.md"
    )
  taught = np.asarray(spec.classes).any(axis=0)
  unknown = np.flatnonzero(taught & ~np.asarray(spec.attributes).any(axis=1))
  if unknown.size:
    raise ValueError(
      f"a joint embedding needs attributes of all classes, and those of output {unknown[0]} are "
      "missing or all zero: give each class a row with a number that is not zero"
    )


def shuffled(rows: np.ndarray, seed: int) -> np.ndarray:
  """The rows, exchanged among the classes; equal rows stay equal, and rows of zeros zero.

  >>> shuffled(np.array([[1, 2], [3, 4], [0, 0], [1, 2]]), seed=3).tolist()
  [[3, 4], [1, 2], [0, 0], [3, 4]]
  """
  known = rows.any(axis=1)
  kinds, kind = np.unique(rows[known], axis=0, return_inverse=True)
  order = np.random.default_rng(seed).permutation(len(kinds))
  result = rows.copy()
  result[known] = kinds[order][kind.reshape(-1)]
  return result


def _as_rows(attributes: ArrayLike | Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
  """The attributes in a form that can be hashed, as Flax wants it."""
  rows = np.asarray(attributes, np.float64)
  if rows.ndim != 2 or 0 in rows.shape:
    raise ValueError(f"attributes are {rows.shape}, must be [K, a]: a row for each output")
  if not np.isfinite(rows).all():
    raise ValueError("attributes hold NaN or infinity: mend them")
  return tuple(map(tuple, rows.tolist()))


def _check_network(features: Any) -> None:
  if isinstance(features, JointEmbedding):
    raise ValueError("features must be a network of features, got a joint embedding")
  if not isinstance(features, nn.Module):
    raise ValueError(f"features must be a Flax Linen module, got {type(features).__name__}")
  if "features" not in _names_of_call(features):
    raise ValueError(
      "features must be a network with one head for all tasks, whose call has an argument "
      f"'features'; {type(features).__name__} has none"
    )


def _names_of_call(module: nn.Module) -> frozenset[str]:
  parameters = inspect.signature(type(module).__call__).parameters
  is_open = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
  return frozenset((*parameters, *(_OFFERED if is_open else ())))
