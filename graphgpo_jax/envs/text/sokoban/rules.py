"""What can be done in a room, and how a room looks in text.

The same rules as `graphgpo_jax.envs.sokoban`, one position at a time and in
plain Python. Cells are numbered row by row.
"""

import dataclasses

# In the order of the on-device world's actions.
ACTIONS = ("up", "right", "down", "left")
# As agents are commonly shown gym-sokoban's rooms.
LEGEND = (
  "# wall, _ floor, O target, X box, √ box on a target, P player, "
  "S player on a target"
)


@dataclasses.dataclass(frozen=True)
class Room:
  """What never changes in an episode.

  Attributes:
    width: columns, border walls included.
    walls: whether each cell is a wall; all cells on the border are.
    targets: cells where boxes must go.
  """

  width: int
  walls: tuple[bool, ...]
  targets: frozenset[int]

  @property
  def offsets(self) -> tuple[int, int, int, int]:
    """Change of the cell by each action."""
    return (-self.width, 1, self.width, -1)


@dataclasses.dataclass(frozen=True)
class Position:
  """What changes: the player's cell and the boxes'."""

  player: int
  boxes: frozenset[int]


def move(room: Room, position: Position, action: int) -> Position | None:
  """The position after an action, or None where the player cannot move.

  Args:
    room: the room.
    position: before the action.
    action: index of ACTIONS.
  """
  offset = room.offsets[action]
  front = position.player + offset
  if room.walls[front]:
    return None
  boxes = position.boxes
  if front in boxes:
    beyond = front + offset
    if room.walls[beyond] or beyond in boxes:
      return None
    boxes = boxes - {front} | {beyond}
  return Position(front, boxes)


def is_solved(room: Room, position: Position) -> bool:
  """Whether every box stands on a target."""
  return position.boxes <= room.targets


def write(room: Room, position: Position) -> str:
  """A position as text, a row a line and a blank between cells, see LEGEND.

  With blanks between them, cells do not grow together in a tokenizer.
  """
  cells = [
    _sign(room, position, cell, wall) for cell, wall in enumerate(room.walls)
  ]
  return "\n".join(
    " ".join(cells[start : start + room.width])
    for start in range(0, len(cells), room.width)
  )


def _sign(room: Room, position: Position, cell: int, wall: bool) -> str:
  on_target = cell in room.targets
  if wall:
    return "#"
  if cell == position.player:
    return "S" if on_target else "P"
  if cell in position.boxes:
    return "√" if on_target else "X"
  return "O" if on_target else "_"


def shortest_solution(room: Room, position: Position) -> list[int] | None:
  """A solution with as few actions as possible, by breadth-first search.

  It looks at all that can be reached: some ten thousand positions of a room of
  6x6 with two boxes, and far too many of a large one with three.

  Args:
    room: the room.
    position: where to start.

  Returns:
    Indices of ACTIONS; None where no solution is left.
  """
  if is_solved(room, position):
    return []
  reached: dict[Position, tuple[Position, int] | None] = {position: None}
  frontier = [position]
  while frontier:
    following = []
    for before in frontier:
      for action in range(len(ACTIONS)):
        after = move(room, before, action)
        if after is None or after in reached:
          continue
        reached[after] = (before, action)
        if is_solved(room, after):
          return _actions_to(after, reached)
        following.append(after)
    frontier = following
  return None


def _actions_to(position, reached) -> list[int]:
  actions: list[int] = []
  while reached[position] is not None:
    position, action = reached[position]
    actions.append(action)
  return actions[::-1]
