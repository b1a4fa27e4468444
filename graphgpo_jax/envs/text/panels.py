"""Panels of text worlds: fixed lists of evaluation tasks, kept as text files.

A panel is a list of task ids, one a line, the same on every machine. It never
changes, a new one gets a new name: `SHA256SUMS` beside the lists says what each
is, for `sha256sum --check`, too.
"""

import hashlib
import pathlib
import re
from collections.abc import Sequence

_FOLDER = pathlib.Path(__file__).parent / "panels"
_SUMS = "SHA256SUMS"


def panel_names() -> list[str]:
  """Names of the panels that come with the package."""
  return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def load_panel(name: str) -> list[str]:
  """The task ids of a panel, in order.

  Args:
    name: such as "scienceworld" or "textworld_express_coin".

  Raises:
    ValueError: there is no such panel, or its file is broken: empty, with a
      task twice, or other than `SHA256SUMS` says.
  """
  path = _FOLDER / f"{name}.txt"
  # A name is no path: nothing outside of the folder can be named.
  if not re.fullmatch(r"[a-z0-9_]+", name) or not path.is_file():
    raise ValueError(
      f"no such panel: {name!r}; expected one of {', '.join(panel_names())}"
    )
  ids = [line.strip() for line in _read(path, f"panel {name!r}").splitlines()]
  ids = [line for line in ids if line]
  if not ids or len(set(ids)) != len(ids):
    raise ValueError(f"panel {name!r} is broken: it is empty or repeats a task")
  found, expected = panel_sha256(ids), _locked_sha256().get(path.name)
  if found != expected:
    raise ValueError(
      f"panel {name!r} is not what it was: SHA-256 {found}, but {_SUMS} has "
      f"{expected or 'no line for it'}. Results on it would not compare: bring "
      f"{path} back, or give a panel of your own another name and line"
    )
  return ids


def _read(path: pathlib.Path, what: str) -> str:
  try:
    return path.read_text("utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(f"{what} is broken: {error}") from error


def _locked_sha256() -> dict[str, str]:
  """SHA-256 by the file's name."""
  path = _FOLDER / _SUMS
  text = _read(path, _SUMS) if path.is_file() else ""
  found = (line.split() for line in text.splitlines())
  return {parts[1]: parts[0] for parts in found if len(parts) == 2}


def panel_sha256(ids: Sequence[str]) -> str:
  """SHA-256 of a panel's task ids in their order, each ended by a line feed."""
  return hashlib.sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()
