"""A dump of one JSON object per row and line."""

import json
from collections.abc import Collection
from typing import Any

from graphgpo_jax.tables.readers.dump import Dump


def read_jsonl(path: str, keys: Collection[str]) -> Dump:
  """Reads some keys of a file of JSON lines, all other keys left alone.

  Args:
    path: the file; blank lines may stand at its end only.
    keys: that are read where the file has them.

  Returns:
    Dump: a list for each of `keys` that the file has.

  Raises:
    ValueError: the file has no row, a line is no complete JSON object, or a key
      is in some lines only; the message names file, line and key.
    OSError: the file cannot be read.
  """
  rows: list[dict[str, Any]] = []
  found: dict[str, int] = {}
  blank = None
  with open(path, "rb") as file:
    for number, line in enumerate(file, 1):
      if not line.strip():
        blank = blank or number
        continue
      if blank is not None:
        raise ValueError(
          f"{path}, line {blank}: expected one JSON object, got a blank line"
        )
      values = _parse(path, number, line)
      rows.append({key: values[key] for key in keys if key in values})
      for key in rows[-1]:
        found.setdefault(key, number)
  if not rows:
    raise ValueError(f"{path}: expected at least one line, got an empty file")
  for key, first in found.items():
    for number, row in enumerate(rows, 1):
      if key not in row:
        raise ValueError(
          f"{path}, line {number}: key {key!r} is missing, but line {first} "
          "has it: expected it in each line or in none"
        )
  columns = {key: [row[key] for row in rows] for key in keys if key in found}
  return Dump(path=path, columns=columns, num_rows=len(rows), lines=True)


def _parse(path: str, number: int, line: bytes) -> dict[str, Any]:
  try:
    values = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path}, line {number}: expected a complete JSON object, got invalid "
      f"JSON ({error})"
    ) from None
  if not isinstance(values, dict):
    raise ValueError(
      f"{path}, line {number}: expected a JSON object, got "
      f"{type(values).__name__}"
    )
  return values
