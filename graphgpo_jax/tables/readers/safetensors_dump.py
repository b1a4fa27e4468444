"""A dump of tensors, and of lists in a JSON file of the same name.

`STEP.safetensors` holds numbers, [n] or [n, ...] each; `STEP.json` an object of
lists of n texts or other values. A row of the dump is entry i of all of them.
Neither format can run anything, as a pickle could.
"""

import json
import os
from collections.abc import Collection, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from graphgpo_jax import extras
from graphgpo_jax.tables import jsonl, table_columns
from graphgpo_jax.tables.readers.dump import Dump

ENDING = ".safetensors"


def is_safetensors(path: str) -> bool:
  """Whether a file holds tensors, by its name."""
  return path.lower().endswith(ENDING)


def sidecar_path(path: str) -> str:
  """The JSON file that belongs to a file of tensors."""
  return os.path.splitext(path)[0] + ".json"


def read_safetensors(path: str, keys: Collection[str]) -> Dump:
  """Reads some keys of a file of tensors and of the JSON file beside it.

  Args:
    path: the file of tensors; the JSON file may be missing.
    keys: that are read where a file has them.

  Returns:
    Dump: an array or a list for each of `keys` that a file has.

  Raises:
    ValueError: a file is damaged, a key is in both, or columns differ in
      length; the message names file and key.
    ImportError: safetensors is not installed.
    OSError: a file cannot be read.
  """
  tensors = _tensors(path, keys)
  lists = _lists(sidecar_path(path), keys)
  for key in tensors:
    if key in lists:
      raise ValueError(
        f"{path}: key {key!r} is in {sidecar_path(path)}, too: expected it in "
        "one of them"
      )
  columns: dict[str, table_columns.Column] = {**tensors, **lists}
  columns = {key: columns[key] for key in keys if key in columns}
  num_rows = None
  for key, column in columns.items():
    where = path if key in tensors else sidecar_path(path)
    if num_rows is None:
      num_rows, first = len(column), key
    elif len(column) != num_rows:
      raise ValueError(
        f"{where}: key {key!r} has {len(column)} rows, but key {first!r} has "
        f"{num_rows}: expected one entry for each step"
      )
  if num_rows == 0:
    raise ValueError(f"{path}: expected at least one row, got none")
  return Dump(path, columns, num_rows or 0, lines=False)


def write_safetensors(path: str, columns: Mapping[str, np.ndarray]) -> None:
  """Writes arrays as tensors, all of them or nothing.

  Args:
    path: the file; an older one is replaced once everything is written.
    columns: by name.

  Raises:
    ImportError: safetensors is not installed.
    OSError: the file cannot be written.
  """
  numpy_files = _require("safetensors.numpy")
  data = numpy_files.save(
    {name: np.ascontiguousarray(column) for name, column in columns.items()}
  )
  with jsonl.open_atomically(path) as file:
    file.write(data)


def _require(module: str) -> Any:
  return extras.require(module, "a dump of tensors", extra="logs")


def _tensors(path: str, keys: Collection[str]) -> dict[str, np.ndarray]:
  safetensors = _require("safetensors")
  # Its own errors do not always name the file.
  with open(path, "rb"):
    pass
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      there = set(file.keys())
      found = {key: file.get_tensor(key) for key in keys if key in there}
  except (safetensors.SafetensorError, TypeError, KeyError) as error:
    raise ValueError(
      f"{path}: truncated, no safetensors file, or of a type that NumPy lacks: "
      f"{error}"
    ) from None
  for key, tensor in found.items():
    if tensor.ndim == 0:
      raise ValueError(
        f"{path}: key {key!r}: expected one entry for each row, got a single "
        "number"
      )
    if tensor.dtype == ml_dtypes.bfloat16:
      found[key] = tensor.astype(np.float32)
  return found


def _lists(path: str, keys: Collection[str]) -> dict[str, list[Any]]:
  if not os.path.exists(path):
    return {}
  with open(path, "rb") as file:
    text = file.read()
  try:
    values = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path}: expected a complete JSON object, got invalid JSON ({error})"
    ) from None
  if not isinstance(values, dict):
    raise ValueError(
      f"{path}: expected a JSON object of lists, got {type(values).__name__}"
    )
  found = {key: values[key] for key in keys if key in values}
  for key, column in found.items():
    if not isinstance(column, list):
      raise ValueError(
        f"{path}: key {key!r}: expected a list with one entry for each row, "
        f"got {type(column).__name__}"
      )
  return found
