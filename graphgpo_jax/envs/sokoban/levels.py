"""Reads and writes levels in the text format of Boxoban.

A file holds levels one after the other: a header line such as "; 0", the rows
of the level, and an empty line. The characters are those of
`viewer.render_text`.
"""

import os
import pathlib

import numpy as np

from graphgpo_jax.envs.sokoban.types import (
  BOX,
  BOX_ON_TARGET,
  CELL_CHARACTERS,
  NO_ACTION,
  PLAYER,
  PLAYER_ON_TARGET,
  TARGET,
  WALL,
  SokobanState,
  SokobanTask,
)
from graphgpo_jax.envs.sokoban.viewer import render_text


def read_levels(
  path_or_text: str | os.PathLike[str], *, horizon: int = 120
) -> list[SokobanTask]:
  """Reads the levels of a file or of a text.

  Args:
    path_or_text: a path, or the text itself: a string with a line break in it
      is a text.
    horizon: K, length of the tasks' empty `solution`; a level and a drawn task
      can be stacked if it equals the environment's horizon.

  Returns:
    A task per level, in order, of NumPy arrays. No solution is known:
    `solution_length` is -1 and `solution` all padding.

  Raises:
    ValueError: a level is malformed. The message names the level's header, the
      number of the row, counted from 1, and what is wrong.
    OSError: the file cannot be read.
  """
  if isinstance(path_or_text, str) and "\n" in path_or_text:
    text = path_or_text
  else:
    try:
      text = pathlib.Path(path_or_text).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
      raise ValueError(f"{path_or_text}: no text: {error}") from error
  levels: list[tuple[str, list[str]]] = []
  ended = True
  for number, line in enumerate(text.splitlines(), start=1):
    if line.startswith(";"):
      levels.append((line[1:].strip(), []))
      ended = False
    elif not line.strip():
      # An empty line before the first row belongs to the header.
      ended = not levels or bool(levels[-1][1])
    elif not levels:
      raise ValueError(f"line {number}: a row before any header such as '; 0'")
    else:
      header, rows = levels[-1]
      rows.append(line)
      if ended:
        raise _malformed(header, len(rows), "follows an empty line")
  return [_parse_level(header, rows, horizon) for header, rows in levels]


def level_to_text(task: SokobanTask | SokobanState, header: str = "0") -> str:
  """Writes a level in the format that `read_levels` reads.

  Args:
    task: an unbatched task or state.
    header: name of the level.

  Returns:
    The header line and the rows, each ended by a line break.
  """
  return f"; {header}\n{render_text(task)}\n"


def _malformed(header: str, row: int | str, problem: str) -> ValueError:
  """The error of a malformed level."""
  return ValueError(f"level '{header}', row {row}: {problem}")


def _parse_level(header: str, rows: list[str], horizon: int) -> SokobanTask:
  """One level's task."""
  if not rows:
    raise _malformed(header, 1, "missing, the level has no rows")
  every_row = f"1 to {len(rows)}"
  width = len(rows[0])
  player = None
  for number, row in enumerate(rows, start=1):
    if len(row) != width:
      raise _malformed(
        header, number, f"has {len(row)} cells, but row 1 has {width}"
      )
    for column, character in enumerate(row):
      if character not in CELL_CHARACTERS:
        raise _malformed(
          header,
          number,
          f"unknown character {character!r} in column {column + 1}",
        )
      if CELL_CHARACTERS.index(character) in (PLAYER, PLAYER_ON_TARGET):
        if player is not None:
          raise _malformed(header, number, "a second player")
        player = (number - 1) * width + column
    border = row if number in (1, len(rows)) else row[0] + row[-1]
    if set(border) != {CELL_CHARACTERS[WALL]}:
      raise _malformed(header, number, "the room's border is not all walls")
  if player is None:
    raise _malformed(header, every_row, "no player")
  kinds = np.asarray(
    [[CELL_CHARACTERS.index(character) for character in row] for row in rows]
  )
  boxes = np.isin(kinds, (BOX, BOX_ON_TARGET))
  targets = np.isin(kinds, (TARGET, BOX_ON_TARGET, PLAYER_ON_TARGET))
  if not boxes.any():
    raise _malformed(header, every_row, "no boxes")
  if boxes.sum() != targets.sum():
    raise _malformed(
      header, every_row, f"{boxes.sum()} boxes, but {targets.sum()} targets"
    )
  return SokobanTask(
    walls=kinds == WALL,
    targets=targets,
    boxes=boxes,
    player=np.asarray(player, np.int32),
    solution=np.full((horizon,), NO_ACTION, np.int32),
    solution_length=np.asarray(-1, np.int32),
  )
