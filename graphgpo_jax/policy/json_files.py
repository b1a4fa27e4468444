"""JSON files of models."""

import json
import pathlib
from typing import Any


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object.

  Args:
    path: the file.

  Returns:
    The object.

  Raises:
    ValueError: the file is missing, is no JSON or holds no object.
  """
  if not path.is_file():
    raise ValueError(f"{path.parent}: {path.name} is missing")
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: no JSON: {error}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{path}: a JSON object was expected")
  return found


def write_object(path: pathlib.Path, values: dict[str, Any]) -> None:
  """Writes a JSON object, readable, with a newline at its end."""
  text = json.dumps(values, indent=2, ensure_ascii=False)
  path.write_text(text + "\n", encoding="utf-8")
