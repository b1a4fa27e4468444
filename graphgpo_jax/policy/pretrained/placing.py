"""From tensors of a file to parameters on devices, piece by piece.

What a device holds is read for that device alone, cast on the way, and handed
over before the next parameter is begun: beside the finished parameters there
is one unfinished one and a chunk of a file.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

import flax.traverse_util
import jax
import numpy as np

from graphgpo_jax.policy.pretrained import names

# A sharding for all parameters, or one for each by its path and shape.
ShardingRule = (
  jax.sharding.Sharding
  | Callable[[names.Path, tuple[int, ...]], jax.sharding.Sharding]
)

# Numbers read at once.
_CHUNK = 1 << 22
# What jax needs to take host memory over without a copy, in bytes.
_ALIGNMENT = 64


class TensorSource(Protocol):
  """Tensors of a model file, by name."""

  where: str

  def names(self) -> Collection[str]:
    """Names of all tensors."""
    ...

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, [out, in] for a projection."""
    ...

  def check_type(self, name: str) -> None:
    """Raises ValueError unless the tensor holds floating-point numbers."""
    ...

  def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
    """A block of a tensor, by plain slices with steps of 1."""
    ...


def load_params(
  source: TensorSource,
  table: Mapping[names.Path, names.Parameter],
  *,
  naming: names.Naming,
  dtype: Any,
  sharding: ShardingRule | None = None,
) -> dict[str, Any]:
  """Reads all parameters of a model.

  Args:
    source: the file's tensors.
    table: what `names.parameter_table` says.
    naming: the naming of both.
    dtype: type of the parameters.
    sharding: where they go; the first device where None.

  Returns:
    The tree of parameters.

  Raises:
    ValueError: a tensor is missing, surplus, of another shape or no float.
  """
  names.check_names(source.names(), table, naming, where=source.where)
  # All of it before the first byte is read: a mistake should cost no minutes.
  for parameter in table.values():
    for tensor in parameter.tensors:
      _check(source, tensor)
  if sharding is None:
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  # The largest first: what is needed beside a parameter while it is made then
  # never comes on top of all the others.
  order = sorted(
    table.items(), key=lambda item: int(np.prod(item[1].shape)), reverse=True
  )
  leaves = {
    path: _place(source, parameter, path, dtype, sharding)
    for path, parameter in order
  }
  return flax.traverse_util.unflatten_dict({key: leaves[key] for key in table})


def _check(source: TensorSource, tensor: names.Tensor) -> None:
  found = source.shape(tensor.name)
  if found != tensor.shape:
    raise ValueError(
      f"{source.where}: tensor {tensor.name!r} has shape {list(found)}; "
      f"expected {list(tensor.shape)}"
    )
  source.check_type(tensor.name)


def _place(
  source: TensorSource,
  parameter: names.Parameter,
  path: names.Path,
  dtype: Any,
  sharding: ShardingRule,
) -> jax.Array:
  if callable(sharding):
    sharding = sharding(path, parameter.shape)

  blocks: dict[tuple[range, ...], np.ndarray] = {}

  def read(index: Any) -> np.ndarray:
    # Asked for once a device; but several may hold the same block.
    spans = _spans(index, parameter.shape)
    if spans not in blocks:
      blocks[spans] = assemble(source, parameter, index, dtype)
    return blocks[spans]

  return jax.make_array_from_callback(
    parameter.shape, sharding, read, dtype=dtype
  )


def assemble(
  source: TensorSource,
  parameter: names.Parameter,
  index: tuple[slice, ...],
  dtype: Any,
) -> np.ndarray:
  """Reads a block of a parameter.

  Args:
    source: the file's tensors.
    parameter: what it is made of.
    index: the block, a slice per axis.
    dtype: type of the result.

  Returns:
    The block, in memory that jax can take over as it is.
  """
  spans = list(_spans(index, parameter.shape))
  result = _aligned_empty(tuple(len(span) for span in spans), dtype)
  # Seen as the file lays it out: rows first.
  rows_first = np.moveaxis(result, parameter.axis, 0)
  wanted = spans.pop(parameter.axis)
  others = tuple(slice(span.start, span.stop) for span in spans)
  step = max(1, _CHUNK // max(1, int(np.prod([len(span) for span in spans]))))
  offset = 0
  for tensor in parameter.tensors:
    start = max(wanted.start - offset, 0)
    stop = min(wanted.stop - offset, tensor.shape[0])
    for first in range(start, stop, step):
      last = min(first + step, stop)
      block = source.read(tensor.name, (slice(first, last), *others))
      target = offset - wanted.start
      rows_first[target + first : target + last] = block
    offset += tensor.shape[0]
  return result


def _spans(
  index: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[range, ...]:
  return tuple(
    range(*one.indices(size)) for one, size in zip(index, shape, strict=True)
  )


def _aligned_empty(shape: Iterable[int], dtype: Any) -> np.ndarray:
  shape, dtype = tuple(shape), np.dtype(dtype)
  size = int(np.prod(shape)) * dtype.itemsize
  memory = np.empty(size + _ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % _ALIGNMENT
  return memory[start : start + size].view(dtype).reshape(shape)
