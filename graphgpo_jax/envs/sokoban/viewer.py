"""Shows Sokoban positions as text and as PNG pictures."""

import os
from collections.abc import Sequence

import jax
import numpy as np

from graphgpo_jax.envs.sokoban.types import (
  ACTION_NAMES,
  BOX,
  BOX_ON_TARGET,
  CELL_CHARACTERS,
  FLOOR,
  PLAYER,
  PLAYER_ON_TARGET,
  TARGET,
  WALL,
  SokobanState,
  SokobanTask,
  cell_kinds,
  grids_of,
)

_GROUND_COLOR = {
  FLOOR: "#f4efe6",
  WALL: "#4a5058",
  TARGET: "#f4efe6",
  BOX: "#f4efe6",
  BOX_ON_TARGET: "#cfe8cf",
  PLAYER: "#f4efe6",
  PLAYER_ON_TARGET: "#f4efe6",
}
_TARGET_COLOR = "#c0392b"
_BOX_COLOR = "#c98d4b"
_BOX_ON_TARGET_COLOR = "#3d8b4f"
_BOX_EDGE_COLOR = "#5a3a16"
_PLAYER_COLOR = "#2b6cb0"
_GRID_COLOR = "#d9d2c5"


def _kinds_of(layout: SokobanState | SokobanTask) -> np.ndarray:
  """Kind of each cell, int32 [H, W], on the host."""
  walls, targets, boxes, player = grids_of(layout)
  kinds = cell_kinds(walls.ravel(), targets.ravel(), boxes.ravel(), player)
  return np.asarray(kinds).reshape(walls.shape)


def render_text(state: SokobanState | SokobanTask) -> str:
  """Draws a position with the usual characters of Sokoban levels.

  Args:
    state: an unbatched state or task.

  Returns:
    H lines of W characters: wall "#", floor " ", target ".", box "$", box on
    target "*", player "@", player on target "+".
  """
  kinds = _kinds_of(state)
  return "\n".join(
    "".join(CELL_CHARACTERS[kind] for kind in row) for row in kinds
  )


def render_episode(
  states: SokobanState | Sequence[SokobanState],
  actions: Sequence[int] | np.ndarray,
) -> str:
  """Draws an episode, one position after the other.

  Args:
    states: the T + 1 states in order, as a sequence or stacked along a leading
      axis; `actions[t]` leads from state t to state t + 1.
    actions: T actions.

  Returns:
    A text in which each position stands under the action that led to it. An
    action that moved nothing is marked "(no move)", a solved position
    "(solved)".

  Raises:
    ValueError: there is not exactly one state more than there are actions.
  """
  if isinstance(states, SokobanState):
    stacked = jax.device_get(states)
    states = [
      jax.tree.map(lambda leaf, t=t: leaf[t], stacked)
      for t in range(len(stacked.t))
    ]
  if len(states) != len(actions) + 1:
    raise ValueError(
      f"states must be one more than actions, got {len(states)} states and "
      f"{len(actions)} actions"
    )
  parts = [f"start\n{render_text(states[0])}"]
  for t, action in enumerate(actions):
    before, after = states[t], states[t + 1]
    title = f"step {t + 1}: {ACTION_NAMES[int(action)]}"
    if int(before.player) == int(after.player):
      title += " (no move)"
    if not np.any(np.asarray(after.boxes) & ~np.asarray(after.targets)):
      title += " (solved)"
    parts.append(f"{title}\n{render_text(after)}")
  return "\n\n".join(parts) + "\n"


def render_png(
  state: SokobanState | SokobanTask,
  path: str | os.PathLike[str],
  *,
  cell_size: int = 48,
) -> None:
  """Draws a position into a PNG file.

  Args:
    state: an unbatched state or task.
    path: the file to write.
    cell_size: width and height of a cell in pixels, at least 8.

  Raises:
    ImportError: Pillow is missing.
    ValueError: `cell_size` is below 8.
  """
  if cell_size < 8:
    raise ValueError(f"cell_size must be at least 8, got {cell_size}")
  try:
    from PIL import Image, ImageDraw
  except ImportError as error:
    raise ImportError(
      "render_png needs Pillow: pip install graphgpo-jax[viz]"
    ) from error
  kinds = _kinds_of(state)
  height, width = kinds.shape
  size = (width * cell_size, height * cell_size)
  image = Image.new("RGB", size, _GROUND_COLOR[FLOOR])
  draw = ImageDraw.Draw(image)
  stroke = max(1, cell_size // 16)

  def box_around(left, top, share):
    """Corners of the square of `share` of a cell in the cell's middle."""
    margin = cell_size * (1 - share) / 2
    return (
      left + margin,
      top + margin,
      left + cell_size - 1 - margin,
      top + cell_size - 1 - margin,
    )

  for (row, column), kind in np.ndenumerate(kinds):
    left, top = column * cell_size, row * cell_size
    outline = _GROUND_COLOR[WALL] if kind == WALL else _GRID_COLOR
    draw.rectangle(
      box_around(left, top, 1.0), fill=_GROUND_COLOR[kind], outline=outline
    )
    if kind in (TARGET, PLAYER_ON_TARGET):
      ring = box_around(left, top, 0.84 if kind == PLAYER_ON_TARGET else 0.44)
      draw.ellipse(ring, outline=_TARGET_COLOR, width=2 * stroke)
    if kind in (BOX, BOX_ON_TARGET):
      color = _BOX_ON_TARGET_COLOR if kind == BOX_ON_TARGET else _BOX_COLOR
      square = box_around(left, top, 0.76)
      draw.rectangle(square, fill=color, outline=_BOX_EDGE_COLOR, width=stroke)
      x0, y0, x1, y1 = square
      draw.line((x0, y0, x1, y1), fill=_BOX_EDGE_COLOR, width=stroke)
      draw.line((x0, y1, x1, y0), fill=_BOX_EDGE_COLOR, width=stroke)
    if kind in (PLAYER, PLAYER_ON_TARGET):
      draw.ellipse(box_around(left, top, 0.56), fill=_PLAYER_COLOR)
  image.save(path, format="PNG")
