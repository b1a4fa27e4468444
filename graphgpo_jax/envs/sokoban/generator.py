"""Random solvable Sokoban tasks, on device.

A task is made backwards: carve a room, stand every box on a target, and play
in reverse, pulling boxes away. The moves played, turned round, solve the task.
Only integers are used, so a key gives the same task on every machine.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.envs.sokoban.types import (
  NO_ACTION,
  NUM_ACTIONS,
  SokobanTask,
  cell_offsets,
)

# Brush strokes per inner cell; two leave 70 to 80 % of the inside floor, and
# fewer leave rooms so tight that most tasks are a push or two long.
_STROKES_PER_CELL = 2
# Reverse moves tried, as a multiple of the longest solution allowed: erasing
# loops leaves a path much shorter than the number of moves tried.
_MOVES_PER_LENGTH = 4
# Sharing one word among the fields below keeps the number of random words, the
# dearest part of a draw, small.
_FIELD_BITS = 7
# A box code must fit beside the player's and the other boxes' in 31 bits.
_CODE_BITS = 7


@chex.dataclass(frozen=True)
class _ReversePlay:
  """A reverse game under way: its path, and the best position it has seen."""

  player: chex.Array  # int32 [], cell index
  boxes: chex.Array  # int32 [N], cell index of each box
  length: chex.Array  # int32 [], moves of the path
  codes: chex.Array  # int32 [K + 1], code of each position of the path
  actions: chex.Array  # int32 [K], forward action that undoes each move
  best_score: chex.Array  # int32 [], 0 while no position has a score
  best_player: chex.Array  # int32 []
  best_boxes: chex.Array  # int32 [N]
  best_length: chex.Array  # int32 []
  best_actions: chex.Array  # int32 [K]


def carve_room(key: chex.PRNGKey, *, height: int, width: int) -> chex.Array:
  """Carves a connected room by the walk of a brush of 1 to 4 cells.

  Args:
    key: PRNG key.
    height: H, rows with the border.
    width: W, columns with the border.

  Returns:
    bool [H, W], True for walls; the border always is.
  """
  num_inner = (height - 2) * (width - 2)
  words = jax.random.bits(key, (_STROKES_PER_CELL * num_inner,), jnp.uint32)
  rows = jnp.arange(height, dtype=jnp.int32)[:, None]
  columns = jnp.arange(width, dtype=jnp.int32)[None, :]
  row_steps = jnp.asarray([-1, 0, 1, 0], jnp.int32)
  column_steps = jnp.asarray([0, 1, 0, -1], jnp.int32)

  def stroke(carry, word):
    floor, row, column = carry
    direction = (word & 3).astype(jnp.int32)
    tall = ((word >> 2) & 1).astype(jnp.int32)
    broad = ((word >> 3) & 1).astype(jnp.int32)
    row = jnp.clip(row + row_steps[direction], 1, height - 2)
    column = jnp.clip(column + column_steps[direction], 1, width - 2)
    floor |= (
      (rows >= row)
      & (rows <= row + tall)
      & (columns >= column)
      & (columns <= column + broad)
    )
    return (floor, row, column), None

  start = words[0] >> 8
  start_row = 1 + (start % (height - 2)).astype(jnp.int32)
  start_column = 1 + ((start >> 12) % (width - 2)).astype(jnp.int32)
  floor = jnp.zeros((height, width), bool)
  (floor, _, _), _ = jax.lax.scan(
    stroke, (floor, start_row, start_column), words
  )
  inside = (
    (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
  )
  return ~(floor & inside)


def _random_targets(
  key: chex.PRNGKey, walls: chex.Array, count: int
) -> tuple[chex.Array, chex.Array]:
  """Distinct cells off which a box can be pulled, and whether all are.

  A box leaves its cell by a pull if two floor cells follow it in a row: one
  for the box, one for the player.
  """
  floor = ~walls.reshape(-1)
  follows = functools.reduce(
    jnp.logical_or,
    [
      jnp.roll(floor, -offset) & jnp.roll(floor, -2 * offset)
      for offset in cell_offsets(walls.shape[1]).tolist()
    ],
  )
  ranks = (jax.random.bits(key, floor.shape) >> 1).astype(jnp.int32)
  ranks, cells = jax.lax.top_k(jnp.where(floor & follows, ranks, -1), count)
  return cells.astype(jnp.int32), ranks[-1] >= 0


def _random_player(
  key: chex.PRNGKey, walls: chex.Array, targets: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """A floor cell beside a target and off all of them, and whether it is."""
  cells = jnp.arange(walls.size, dtype=jnp.int32)
  beside = targets[:, None] + cell_offsets(walls.shape[1])
  allowed = (
    ~walls.reshape(-1)
    & jnp.any(cells[:, None] == beside.reshape(-1), axis=-1)
    & jnp.all(cells[:, None] != targets, axis=-1)
  )
  ranks = (jax.random.bits(key, cells.shape) >> 1).astype(jnp.int32)
  ranks = jnp.where(allowed, ranks, -1)
  player = jnp.argmax(ranks).astype(jnp.int32)
  return player, ranks[player] >= 0


def _position_code(player: chex.Array, boxes: chex.Array) -> chex.Array:
  """One int32 per position; equal exactly where player and boxes are."""
  code = player
  for box in range(boxes.shape[0]):
    code = (code << _CODE_BITS) | boxes[box]
  return code


def _score(num_off, displacement):
  """Orders positions: by boxes off all targets, then by displacement."""
  return num_off * 256 + displacement


def _play_backwards(
  key: chex.PRNGKey,
  walls: chex.Array,
  targets: chex.Array,
  player: chex.Array,
  *,
  max_length: int,
) -> _ReversePlay:
  """Plays in reverse from the solved position.

  A move is random among those possible, with a liking for pulls. The path is
  kept free of loops: a move back onto it cuts off what followed, and a move
  that would make it longer than `max_length` is not made. The best position
  is the one with most boxes off all targets, and of these the one with the
  largest sum of box displacements.

  Args:
    key: PRNG key.
    walls: bool [H, W].
    targets: int32 [N], distinct floor cells.
    player: int32 [], a floor cell that is no target.
    max_length: K, longest path.

  Returns:
    The finished play.
  """
  width = walls.shape[1]
  flat_walls = walls.reshape(-1)
  offsets = jnp.asarray(cell_offsets(width))
  num_moves = _MOVES_PER_LENGTH * max_length
  path_index = jnp.arange(max_length + 1, dtype=jnp.int32)
  target_rows, target_columns = targets // width, targets % width

  def move(play: _ReversePlay, word: chex.Array):
    fronts = play.player + offsets  # [4]
    backs = play.player - offsets
    blocked = flat_walls[fronts] | jnp.any(
      play.boxes == fronts[:, None], axis=-1
    )
    pullable = jnp.any(play.boxes == backs[:, None], axis=-1)
    shifts = jnp.arange(NUM_ACTIONS, dtype=jnp.uint32) * _FIELD_BITS
    field = (word >> shifts) & ((1 << _FIELD_BITS) - 1)
    liking = 1 + field.astype(jnp.int32)
    liking += jnp.where(pullable, 1 << (_FIELD_BITS - 1), 0)
    direction = jnp.argmax(jnp.where(blocked, 0, liking)).astype(jnp.int32)
    # Three pulls in four: a player that always pulls can never leave a box.
    pulls = (word >> (NUM_ACTIONS * _FIELD_BITS)) & 3 != 0
    player = fronts[direction]
    boxes = jnp.where(
      pulls & (play.boxes == backs[direction]), play.player, play.boxes
    )

    off_target = jnp.all(boxes[:, None] != targets[None, :], axis=-1)
    num_off = jnp.sum(off_target, dtype=jnp.int32)
    code = _position_code(player, boxes)
    on_path = (play.codes == code) & (path_index <= play.length)
    length = jnp.where(
      jnp.any(on_path),
      jnp.argmax(on_path).astype(jnp.int32),
      play.length + 1,
    )
    # The solution must not be over early, so a solved position starts a path.
    length = jnp.where(num_off == 0, 0, length)
    made = ~blocked[direction] & (length <= max_length)

    player = jnp.where(made, player, play.player)
    boxes = jnp.where(made, boxes, play.boxes)
    length = jnp.where(made, length, play.length)
    codes = jnp.where(made & (path_index == length), code, play.codes)
    # Going back to the path leaves its moves as they are.
    extends = made & (length == play.length + 1)
    actions = jnp.where(
      extends & (path_index[1:] == length),
      (direction + 2) % NUM_ACTIONS,
      play.actions,
    )

    displacement = jnp.sum(
      jnp.abs(boxes // width - target_rows)
      + jnp.abs(boxes % width - target_columns),
      dtype=jnp.int32,
    )
    score = jnp.where(num_off > 0, _score(num_off, displacement), 0)
    better = made & (score > play.best_score)

    def keep(new, old):
      return jnp.where(better, new, old)

    return _ReversePlay(
      player=player,
      boxes=boxes,
      length=length,
      codes=codes,
      actions=actions,
      best_score=keep(score, play.best_score),
      best_player=keep(player, play.best_player),
      best_boxes=keep(boxes, play.best_boxes),
      best_length=keep(length, play.best_length),
      best_actions=keep(actions, play.best_actions),
    ), None

  zero = jnp.zeros((), jnp.int32)
  no_actions = jnp.full((max_length,), NO_ACTION, jnp.int32)
  codes = jnp.full((max_length + 1,), -1, jnp.int32)
  start = _ReversePlay(
    player=player,
    boxes=targets,
    length=zero,
    codes=codes.at[0].set(_position_code(player, targets)),
    actions=no_actions,
    best_score=zero,
    best_player=player,
    best_boxes=targets,
    best_length=zero,
    best_actions=no_actions,
  )
  words = jax.random.bits(key, (num_moves,), jnp.uint32)
  return jax.lax.scan(move, start, words)[0]


def attempt_task(
  key: chex.PRNGKey,
  *,
  height: int,
  width: int,
  num_boxes: int,
  max_length: int,
) -> SokobanTask:
  """Tries to make a solvable task, in a fixed number of operations.

  Args:
    key: PRNG key.
    height: H, rows with the border walls.
    width: W, columns with the border walls.
    num_boxes: N, at most 3.
    max_length: K, longest solution.

  Returns:
    A task with no box on a target, whose `solution` (int32 [K]) solves it with
    its last action and not before, and whose boxes lie at least two cells each
    from where they must go, on average; or a failed attempt, to be thrown
    away, which has `solution_length` 0.
  """
  room_key, target_key, player_key, play_key = jax.random.split(key, 4)
  walls = carve_room(room_key, height=height, width=width)
  target_cells, has_targets = _random_targets(target_key, walls, num_boxes)
  player, has_player = _random_player(player_key, walls, target_cells)
  play = _play_backwards(
    play_key, walls, target_cells, player, max_length=max_length
  )
  far_enough = play.best_score >= _score(num_boxes, 2 * num_boxes)
  length = jnp.where(
    has_targets & has_player & far_enough, play.best_length, 0
  )
  cells = np.arange(height * width, dtype=np.int32).reshape(height, width)

  def grid(indices):
    return jnp.any(cells[..., None] == indices, axis=-1)

  order = jnp.arange(max_length, dtype=jnp.int32)
  return SokobanTask(
    walls=walls,
    targets=grid(target_cells),
    boxes=grid(play.best_boxes),
    player=play.best_player,
    solution=jnp.where(
      order < length, play.best_actions[length - 1 - order], NO_ACTION
    ),
    solution_length=length,
  )
