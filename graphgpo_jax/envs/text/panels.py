"""Panels of text worlds: fixed lists of evaluation tasks, kept as text files.

A panel is a list of task ids, one a line, the same on every machine.
"""

import hashlib
import pathlib
import re
from collections.abc import Sequence

_FOLDER = pathlib.Path(__file__).parent / "panels"


def panel_names() -> list[str]:
  """Names of the panels that come with the package."""
  return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def load_panel(name: str) -> list[str]:
  """The task ids of a panel, in order.

  Args:
    name: such as "scienceworld" or "textworld_express_coin".

  Raises:
    ValueError: there is no such panel, or its file is broken: empty, or with a
      task twice.
  """
  path = _FOLDER / f"{name}.txt"
  # A name is no path: nothing outside of the folder can be named.
  if not re.fullmatch(r"[a-z0-9_]+", name) or not path.is_file():
    raise ValueError(
      f"no such panel: {name!r}; expected one of {', '.join(panel_names())}"
    )
  try:
    text = path.read_text("utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"panel {name!r} is broken: {error}") from error
  ids = [line.strip() for line in text.splitlines()]
  ids = [line for line in ids if line]
  if not ids or len(set(ids)) != len(ids):
    raise ValueError(f"panel {name!r} is broken: it is empty or repeats a task")
  return ids


def panel_sha256(ids: Sequence[str]) -> str:
  """SHA-256 of a panel's task ids in their order, each ended by a line feed."""
  return hashlib.sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()
