"""Sokoban in reverse: pulls boxes off their targets, and remembers the way.

The way back from a position reached by pulls is a solution of it.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs.sokoban.types import (
  NO_ACTION,
  NUM_ACTIONS,
  cell_offsets,
)

# Reverse moves tried, as a multiple of the longest solution allowed: erasing
# loops leaves a path much shorter than the number of moves tried.
MOVES_PER_LENGTH = 4
# Sharing one word among the fields below keeps the number of random words, the
# dearest part of a draw, small.
_FIELD_BITS = 7
# A box code must fit beside the player's and the other boxes' in 31 bits.
_CODE_BITS = 7


@chex.dataclass(frozen=True)
class ReversePlay:
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


def _position_code(player: chex.Array, boxes: chex.Array) -> chex.Array:
  """One int32 per position; equal exactly where player and boxes are."""
  code = player
  for box in range(boxes.shape[0]):
    code = (code << _CODE_BITS) | boxes[box]
  return code


def score_of(num_off, displacement):
  """Score of a position: by boxes off all targets, then by displacement.

  Args:
    num_off: int32 [], boxes on no target.
    displacement: int32 [], below 256, sum over the boxes of the rows and
      columns between a box and where it started.

  Returns:
    int32 [].
  """
  return num_off * 256 + displacement


def play_backwards(
  words: chex.Array,
  walls: chex.Array,
  targets: chex.Array,
  player: chex.Array,
  *,
  max_length: int,
) -> ReversePlay:
  """Plays in reverse from the solved position.

  A move is random among those possible, with a liking for pulls. The path is
  kept free of loops: a move back onto it cuts off what followed, and a move
  that would make it longer than `max_length` is not made. The best position
  is the one with most boxes off all targets, and of these the one with the
  largest sum of box displacements.

  Args:
    words: uint32 [moves], random, one per move to try.
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
  path_index = jnp.arange(max_length + 1, dtype=jnp.int32)
  target_rows, target_columns = targets // width, targets % width

  def move(play: ReversePlay, word: chex.Array):
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
    score = jnp.where(num_off > 0, score_of(num_off, displacement), 0)
    better = made & (score > play.best_score)

    def keep(new, old):
      return jnp.where(better, new, old)

    return ReversePlay(
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
  start = ReversePlay(
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
  return jax.lax.scan(move, start, words)[0]
