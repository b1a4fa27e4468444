"""Random solvable rooms: the on-device generator, from the same random words.

`graphgpo_jax.envs.sokoban.generator` and `reverse_play` say what is done and
why. This is the same function of the words in plain Python: a test holds the
two equal. Integers alone, so words give the same room on every machine.
"""

import dataclasses
from collections.abc import Sequence

from graphgpo_jax.envs.text.sokoban.rules import ACTIONS, Position, Room

_STROKES_PER_CELL = 2
_MOVES_PER_LENGTH = 4
_FIELD_BITS = 7


@dataclasses.dataclass(frozen=True)
class Task:
  """A room with its boxes, and a known way to solve it.

  Attributes:
    room: the room.
    start: where player and boxes stand.
    solution: indices of ACTIONS; not the shortest way in general.
  """

  room: Room
  start: Position
  solution: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How large a room is.

  Attributes:
    height: rows with the border walls, 6 to 10.
    width: columns with the border walls, 6 to 10.
    boxes: 1 to 3.
    solution: actions of the known solution at most, 15 to 120.
  """

  height: int = 6
  width: int = 6
  boxes: int = 2
  solution: int = 15

  def __post_init__(self):
    for name, low, high in (
      ("height", 6, 10),
      ("width", 6, 10),
      ("boxes", 1, 3),
      ("solution", 15, 120),
    ):
      value = getattr(self, name)
      if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")

  @property
  def _counts(self) -> tuple[int, int, int, int]:
    cells = self.height * self.width
    strokes = _STROKES_PER_CELL * (self.height - 2) * (self.width - 2)
    return strokes, cells, cells, _MOVES_PER_LENGTH * self.solution

  @property
  def num_words(self) -> int:
    """Random words that an attempt takes."""
    return sum(self._counts)

  def split(self, words: Sequence[int]) -> list[Sequence[int]]:
    """The words of strokes, targets, player and moves."""
    parts, start = [], 0
    for count in self._counts:
      parts.append(words[start : start + count])
      start += count
    return parts


def attempt(words: Sequence[int], sizes: Sizes) -> Task | None:
  """Tries to make a solvable task.

  Args:
    words: random numbers in [0, 2**32), `sizes.num_words` of them.
    sizes: of the room.

  Returns:
    A task with no box on a target, whose solution solves it with its last
    action and not before; None where the attempt failed.
  """
  strokes, of_targets, of_player, moves = sizes.split(words)
  width = sizes.width
  walls = _carve(strokes, sizes.height, width)
  offsets = (-width, 1, width, -1)
  cells = range(len(walls))

  def can_be_left(cell: int) -> bool:
    """A box can be pulled off the cell: two floor cells follow in a row."""
    return any(
      not walls[cell + offset] and not walls[cell + 2 * offset]
      for offset in offsets
    )

  allowed = [cell for cell in cells if not walls[cell] and can_be_left(cell)]
  targets = _best(of_targets, allowed, sizes.boxes)
  beside = {target + offset for target in targets for offset in offsets}
  allowed = [
    cell
    for cell in cells
    if not walls[cell] and cell in beside and cell not in targets
  ]
  player = _best(of_player, allowed, 1)
  if len(targets) < sizes.boxes or not player:
    return None
  room = Room(width, tuple(walls), frozenset(targets))
  return _play_backwards(moves, room, targets, player[0], sizes.solution)


def _best(words: Sequence[int], allowed: list[int], number: int) -> list[int]:
  """The allowed cells with the largest words, lower cells first among equals.

  The lowest bit plays no part, as where words must fit a signed integer.
  """
  return sorted(allowed, key=lambda cell: (-(words[cell] >> 1), cell))[:number]


def _carve(words: Sequence[int], height: int, width: int) -> list[bool]:
  """Whether each cell is a wall, by the walk of a brush of 1 to 4 cells."""
  start = words[0] >> 8
  row = 1 + (start & 0xFFF) % (height - 2)
  column = 1 + (start >> 12) % (width - 2)
  walls = [True] * (height * width)
  for word in words:
    down, right = ((-1, 0), (0, 1), (1, 0), (0, -1))[word & 3]
    row = min(max(row + down, 1), height - 2)
    column = min(max(column + right, 1), width - 2)
    # No further than the border, which stays.
    last_row = min(row + (word >> 2 & 1), height - 2)
    last_column = min(column + (word >> 3 & 1), width - 2)
    for there in range(row, last_row + 1):
      for across in range(column, last_column + 1):
        walls[there * width + across] = False
  return walls


def _play_backwards(
  words: Sequence[int],
  room: Room,
  targets: Sequence[int],
  player: int,
  longest: int,
) -> Task | None:
  """Pulls boxes off their targets; the way back is the solution.

  The path is kept free of loops, and what is returned is the position with the
  most boxes off all targets, the farthest away among those.
  """
  offsets, width = room.offsets, room.width
  boxes = tuple(targets)
  path, actions = [(player, boxes)], list[int]()
  best_score, best = 0, None
  for word in words:
    blocked = [
      room.walls[player + offset] or player + offset in boxes
      for offset in offsets
    ]
    if all(blocked):
      continue
    liking = [
      0
      if blocked[action]
      else 1
      + (word >> action * _FIELD_BITS & (1 << _FIELD_BITS) - 1)
      + (player - offset in boxes) * (1 << _FIELD_BITS - 1)
      for action, offset in enumerate(offsets)
    ]
    direction = liking.index(max(liking))
    moved = boxes
    if word >> len(ACTIONS) * _FIELD_BITS & 3:
      behind = player - offsets[direction]
      moved = tuple(player if box == behind else box for box in boxes)
    here = (player + offsets[direction], moved)
    num_off = sum(box not in room.targets for box in moved)
    if num_off == 0:
      # The solution must not be over early: a solved position starts a path.
      length = 0
    elif here in path:
      length = path.index(here)
    else:
      length = len(path)
    if length > longest:
      continue
    if length == len(path):
      actions.append((direction + 2) % len(ACTIONS))
    path[length:], actions = [here], actions[:length]
    player, boxes = here
    displacement = sum(
      abs(box // width - target // width) + abs(box % width - target % width)
      for box, target in zip(boxes, targets, strict=True)
    )
    score = num_off * 256 + displacement if num_off else 0
    if score > best_score:
      solution = tuple(reversed(actions))
      best_score = score
      best = Task(room, Position(player, frozenset(boxes)), solution)
  # All boxes off their targets, two cells away on average.
  return best if best_score >= len(targets) * (256 + 2) else None
