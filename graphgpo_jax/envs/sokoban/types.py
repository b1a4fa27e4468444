"""What a Sokoban task and a state of it are made of."""

import chex
import jax.numpy as jnp
import numpy as np

UP, RIGHT, DOWN, LEFT = range(4)
NUM_ACTIONS = 4
ACTION_NAMES = ("up", "right", "down", "left")

# Cell kinds, the first feature of an observation's tokens.
FLOOR = 0
WALL = 1
TARGET = 2
BOX = 3
BOX_ON_TARGET = 4
PLAYER = 5
PLAYER_ON_TARGET = 6
NUM_CELL_KINDS = 7

# The usual text of Sokoban levels, indexed by cell kind.
CELL_CHARACTERS = " #.$*@+"

# Padding of a task's solution.
NO_ACTION = -1


@chex.dataclass(frozen=True)
class SokobanTask:
  """A room with its boxes, and a known way to solve it.

  The room is closed: all cells on its border are walls. Cells are numbered row
  by row. A task without a known solution has `solution_length` -1.
  """

  walls: chex.Array  # bool [H, W]
  targets: chex.Array  # bool [H, W]
  boxes: chex.Array  # bool [H, W], as many as targets
  player: chex.Array  # int32 [], cell index
  solution: chex.Array  # int32 [K], actions, padded with NO_ACTION
  solution_length: chex.Array  # int32 [], at least the optimum; -1 unknown


@chex.dataclass(frozen=True)
class SokobanState:
  """A position in a room, and the clock.

  Cells are packed, 32 to a word: bit c % 32 of word c // 32 is cell c, and the
  bits after the last cell are 0. So a step looks at a few words where grids
  would have it look at H * W cells; S = ceil(H * W / 32).
  """

  walls: chex.Array  # uint32 [S]
  targets: chex.Array  # uint32 [S]
  boxes: chex.Array  # uint32 [S]
  player: chex.Array  # int32 [], cell index
  width: chex.Array  # int32 [], W, for viewers: words do not tell it
  t: chex.Array  # int32 [], steps taken


def cell_offsets(width: int) -> np.ndarray:
  """Change of the cell index by each action.

  Args:
    width: W, columns of the room.

  Returns:
    int32 [4], in the order of the actions.
  """
  return np.asarray([-width, 1, width, -1], np.int32)


def pack_cells(cells: chex.Array) -> chex.Array:
  """Packs a grid into words, 32 cells to a word.

  Args:
    cells: bool [H, W].

  Returns:
    uint32 [S], S = ceil(H * W / 32).
  """
  flat = cells.reshape(-1)
  flat = jnp.pad(flat, (0, -flat.size % 32)).reshape(-1, 32)
  bits = jnp.uint32(1) << jnp.arange(32, dtype=jnp.uint32)
  return jnp.sum(jnp.where(flat, bits, 0), axis=-1, dtype=jnp.uint32)


def unpack_cells(words: chex.Array, num_cells: int) -> chex.Array:
  """Undoes `pack_cells`, but for the grid's shape.

  Args:
    words: uint32 [S].
    num_cells: H * W.

  Returns:
    bool [H * W].
  """
  places = jnp.arange(32, dtype=jnp.uint32)
  return (((words[:, None] >> places) & 1) != 0).reshape(-1)[:num_cells]


def cell_kinds(
  walls: chex.Array,
  targets: chex.Array,
  boxes: chex.Array,
  player: chex.Array,
) -> chex.Array:
  """Kind of each cell.

  Args:
    walls: bool [H * W].
    targets: bool [H * W].
    boxes: bool [H * W].
    player: int32 [], cell index.

  Returns:
    int32 [H * W], values in [0, NUM_CELL_KINDS).
  """
  cells = jnp.arange(walls.size, dtype=jnp.int32)
  on_target = targets.astype(jnp.int32)
  kinds = jnp.where(boxes, BOX + on_target, TARGET * on_target)
  kinds = jnp.where(cells == player, PLAYER + on_target, kinds)
  return jnp.where(walls, WALL, kinds)


def grids_of(
  layout: SokobanTask | SokobanState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
  """Walls, targets, boxes and player, on the host.

  Args:
    layout: an unbatched task or state.

  Returns:
    Three bool [H, W], and the player's cell index.
  """
  grids = [
    np.asarray(grid) for grid in (layout.walls, layout.targets, layout.boxes)
  ]
  if isinstance(layout, SokobanState):
    places = np.arange(32, dtype=np.uint32)
    flat = [((words[:, None] >> places) & 1 != 0).ravel() for words in grids]
    # The room is closed: its last cell is a wall.
    num_cells = int(np.flatnonzero(flat[0])[-1]) + 1
    grids = [grid[:num_cells].reshape(-1, int(layout.width)) for grid in flat]
  walls, targets, boxes = grids
  return walls, targets, boxes, int(layout.player)
