"""Steps of training that a run kept: where they lie, and a task's rows."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

_FILE = re.compile(r"(?:rollouts|update)-(\d{6,})\.jsonl")
_PROCESS = re.compile(r"process-\d+")
# Within a string of JSON a quote has a backslash before it, so that these find
# keys alone.
_UPDATE = re.compile(rb'"update": ?(\d+)[,}]')
_TASK = re.compile(rb'"task": ?("(?:[^"\\]|\\.)*"|-?\d+)[,}]')
_OPTIONAL = (
  "reward",
  "episode_return",
  "action_valid",
  "cost",
  "action",
)
_REQUIRED = (
  "task",
  "trajectory",
  "t",
  "observation",
  "next_observation",
  "success",
)
# Of these, what a row lacks is "".
_TEXTS = ("picture", "next_picture", "action_text", "response")


@dataclasses.dataclass(frozen=True)
class Extent:
  """Lines of one task that follow one another in a file."""

  path: pathlib.Path
  start: int  # bytes
  stop: int  # bytes


@dataclasses.dataclass(frozen=True)
class KeptSteps:
  """What a run kept."""

  # By update, then by task, in the order of the files.
  places: dict[int, dict[str, list[Extent]]]
  skipped: int  # lines that are no step


def find_steps(folder: str | os.PathLike) -> KeptSteps:
  """Looks for steps in `rollouts` of a run's folder, reading no more than keys.

  A task of an update that several files hold, as a run that was stopped and
  repeated updates leaves it, is taken from the newest.

  Args:
    folder: of the run.

  Returns:
    KeptSteps; empty where the run kept none.

  Raises:
    OSError: a file cannot be read.
  """
  places: dict[int, dict[str, list[Extent]]] = {}
  skipped = 0
  for path in _log_files(pathlib.Path(folder) / "rollouts"):
    stop = 0
    with path.open("rb") as file:
      for line in file:
        start, stop = stop, stop + len(line)
        update, task = _UPDATE.search(line), _TASK.search(line)
        if update is None or task is None or not line.endswith(b"}\n"):
          skipped += 1
          continue
        tasks = places.setdefault(int(update[1]), {})
        name = str(json.loads(task[1]))
        extents = tasks.get(name, [])
        if extents and extents[-1].path != path:
          extents = []
        if extents and extents[-1].stop == start:
          extents[-1] = dataclasses.replace(extents[-1], stop=stop)
        else:
          extents.append(Extent(path, start, stop))
        tasks[name] = extents
  return KeptSteps(places=dict(sorted(places.items())), skipped=skipped)


def read_steps(extents: Sequence[Extent]) -> dict[str, list[Any]]:
  """Reads a task's rows as columns.

  Args:
    extents: of the task.

  Returns:
    Columns of `assign_credit`, the optional ones where all rows have them, and
    picture, next_picture, action_text and response, "" where a row has none.

  Raises:
    ValueError: a line is no JSON object or lacks a column.
    OSError: a file cannot be read.
  """
  rows = []
  for extent in extents:
    with extent.path.open("rb") as file:
      file.seek(extent.start)
      lines = file.read(extent.stop - extent.start).splitlines()
    for line in lines:
      try:
        row = json.loads(line)
        rows.append({name: row[name] for name in _REQUIRED} | row)
      except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
          f"{extent.path}: expected steps as JSON objects with "
          f"{', '.join(_REQUIRED)}; found {line[:60]!r}"
        ) from error
  optional = [name for name in _OPTIONAL if all(name in row for row in rows)]
  columns: dict[str, list[Any]] = {
    name: [row[name] for row in rows] for name in (*_REQUIRED, *optional)
  }
  for name in _TEXTS:
    columns[name] = [_text(row.get(name)) for row in rows]
  return columns


def _text(value: Any) -> str:
  return value if isinstance(value, str) else ""


def _log_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Files of a log in the order in which they were begun."""
  if not folder.is_dir():
    return []
  folders = [folder] + sorted(
    one for one in folder.iterdir() if _PROCESS.fullmatch(one.name)
  )
  found = []
  for place in folders:
    matches = map(_FILE.fullmatch, os.listdir(place))
    numbered = sorted((int(match[1]), match[0]) for match in matches if match)
    found += [place / name for _, name in numbered]
  return found
