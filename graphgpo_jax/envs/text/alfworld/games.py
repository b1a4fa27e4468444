"""Where ALFWorld's games come from: the generator, or downloaded files."""

import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from graphgpo_jax.envs.text.alfworld import generator, packages, tasks
from graphgpo_jax.envs.text.alfworld.rooms import TASK_TYPES
from graphgpo_jax.envs.text.types import TextWorldError

# Folders of the download that make up a side.
SPLITS = {"train": ("train",), "evaluation": ("valid_seen", "valid_unseen")}
_DOWNLOAD = "json_2.1.1"
# The engine has no words for slices and for things in things that are carried.
_UNSUPPORTED = ("movable", "Sliced")
# The largest games of the download have a tenth of this.
_MOST_BYTES = 16 * 2**20


def data_folder(data: str | os.PathLike[str] | None) -> pathlib.Path:
  """The folder of downloaded games that has `train` and the like in it.

  Args:
    data: the folder that alfworld-download filled; None takes what
      ALFWORLD_DATA names.

  Raises:
    ValueError: no folder is named, or it is not there.
  """
  named = data or os.environ.get(packages.DATA_VARIABLE)
  hint = (
    f"downloaded ALFWorld games are looked for where {packages.DATA_VARIABLE} "
    f'points to; tasks "{tasks.GENERATED}/..." need no download'
  )
  if not named:
    raise ValueError(f"{packages.DATA_VARIABLE} is not set: {hint}")
  folder = pathlib.Path(named)
  if not folder.is_dir():
    raise ValueError(f"there is no folder {folder}: {hint}")
  inner = folder / _DOWNLOAD
  return inner if inner.is_dir() else folder


def downloaded_ids(
  *,
  side: str,
  task_types: Iterable[str] = TASK_TYPES,
  data: str | os.PathLike[str] | None = None,
) -> Iterator[str]:
  """Downloaded games that can be solved, in the order of their names.

  Args:
    side: "train", or "evaluation" for `valid_seen` and then `valid_unseen`.
    task_types: of TASK_TYPES.
    data: as `data_folder` takes it.

  Returns:
    Ids such as "valid_seen/TASK/TRIAL".

  Raises:
    ValueError: there is no such side, type or folder.
  """
  tasks.check_side(side)
  chosen = tasks.check_task_types(task_types)
  root = data_folder(data)
  return itertools.chain.from_iterable(
    _of_split(root, split, chosen) for split in SPLITS[side]
  )


def _of_split(
  root: pathlib.Path, split: str, task_types: tuple[str, ...]
) -> Iterator[str]:
  for path in sorted((root / split).rglob(generator.GAME_FILE)):
    home = path.parent
    name = home.relative_to(root).as_posix()
    trajectory = home / generator.TRAJECTORY_FILE
    if any(word in name for word in _UNSUPPORTED) or not trajectory.is_file():
      continue
    if read_json(trajectory).get("task_type") not in task_types:
      continue
    if read_json(path).get("solvable"):
      yield name


def game_of(
  task_id: str,
  *,
  cache: str | os.PathLike[str] | None,
  data: str | os.PathLike[str] | None,
) -> dict[str, Any]:
  """What the game file of a task says.

  Args:
    task_id: "generated/TYPE/NUMBER", or the folder of a downloaded game.
    cache: folder that generated games are kept in; None makes them anew. Either
      way the planner has to solve a game before it is played the first time.
    data: as `data_folder` takes it.

  Raises:
    ValueError: there is no such task.
    TextWorldError: its file is broken, or the planner does not solve it.
  """
  if task_id.split("/")[0] == tasks.GENERATED:
    task = tasks.parse_generated(task_id)
    if cache is None:
      return generator.solved_game(task)[0]
    return read_json(generator.write_game(task, cache))
  root = data_folder(data).resolve()
  path = (root / task_id / generator.GAME_FILE).resolve()
  if not path.is_relative_to(root) or not path.is_file():
    raise ValueError(
      f"no ALFWorld task {task_id!r}: expected "
      f'"{tasks.GENERATED}/TYPE/NUMBER" or a folder with a '
      f"{generator.GAME_FILE} in {root}"
    )
  return read_json(path)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a file that holds a JSON object.

  Raises:
    TextWorldError: it does not, or it is larger than any game.
  """
  try:
    if path.stat().st_size > _MOST_BYTES:
      raise TextWorldError(f"{path}: larger than {_MOST_BYTES} bytes")
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise TextWorldError(f"{path}: broken game file: {error}") from error
  if not isinstance(found, dict):
    raise TextWorldError(f"{path}: broken game file: no JSON object")
  return found
