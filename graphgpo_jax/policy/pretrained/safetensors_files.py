"""Tensors of a directory of safetensors files."""

import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from graphgpo_jax.policy import json_files, lm_extra

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_FLOATS = ("F64", "F32", "F16", "BF16")


def _is_file_name(name: Any) -> bool:
  """Whether a name from a file stays in the directory that it is put behind."""
  return (
    isinstance(name, str)
    and 0 < len(name) < 256
    and name not in (".", "..")
    and not set(name) & set("/\\\0")
  )


class SafetensorsDirectory:
  """The tensors of `model.safetensors`, or of the shards of its index.

  Files are read, not mapped: pages of a mapped file would count as memory of
  the process. Implements `placing.TensorSource`.
  """

  def __init__(self, directory: pathlib.Path):
    """Opens the files and reads their headers.

    Raises:
      ValueError: a file is missing, truncated or no safetensors file, or the
        index and the shards disagree.
      ImportError: safetensors is not installed.
    """
    self.where = str(directory)
    self._slices: dict[str, Any] = {}
    self._files: list[Any] = []
    if (directory / SINGLE_FILE).is_file():
      self._add(directory / SINGLE_FILE)
      return
    if not (directory / INDEX_FILE).is_file():
      raise ValueError(
        f"{directory}: neither {SINGLE_FILE} nor {INDEX_FILE} is there"
      )
    index = json_files.read_object(directory / INDEX_FILE).get("weight_map")
    if not isinstance(index, dict):
      raise ValueError(f"{directory / INDEX_FILE}: weight_map is missing")
    for shard in index.values():
      if not _is_file_name(shard):
        raise ValueError(
          f"{directory / INDEX_FILE}: {shard!r:.60} is no file name"
        )
    for shard in sorted(set(index.values())):
      self._add(directory / shard)
    for name, shard in index.items():
      if name not in self._slices:
        raise ValueError(f"{directory / shard}: tensor {name!r} is missing")

  def _add(self, path: pathlib.Path) -> None:
    safetensors = lm_extra.require("safetensors", "a model directory")
    if not path.is_file():
      raise ValueError(f"{path.parent}: {path.name} is missing")
    try:
      opened = safetensors.safe_open(
        str(path), framework="numpy", backend="pread"
      )
    except safetensors.SafetensorError as error:
      raise ValueError(
        f"{path}: truncated, or no safetensors file: {error}"
      ) from error
    self._files.append(opened)
    for name in opened.keys():  # noqa: SIM118  it is no mapping
      if name in self._slices:
        raise ValueError(f"{path}: tensor {name!r} is in another shard, too")
      self._slices[name] = opened.get_slice(name)

  def names(self) -> Collection[str]:
    """Names of all tensors."""
    return self._slices.keys()

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor."""
    return tuple(self._slices[name].get_shape())

  def check_type(self, name: str) -> None:
    """Refuses everything but floating-point numbers of 16, 32 or 64 bits.

    Raises:
      ValueError: the tensor is of another type.
    """
    found = self._slices[name].get_dtype()
    if found not in _FLOATS:
      raise ValueError(
        f"{self.where}: tensor {name!r} is of type {found}; expected one of "
        f"{', '.join(_FLOATS)}"
      )

  def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
    """A block of a tensor."""
    return self._slices[name][index]
