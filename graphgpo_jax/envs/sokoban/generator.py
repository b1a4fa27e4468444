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

from graphgpo_jax.envs.sokoban.reverse_play import (
  MOVES_PER_LENGTH,
  play_backwards,
  score_of,
)
from graphgpo_jax.envs.sokoban.types import (
  NO_ACTION,
  SokobanTask,
  cell_offsets,
)

# Brush strokes per inner cell; two leave 70 to 80 % of the inside floor, and
# fewer leave rooms so tight that most tasks are a push or two long.
_STROKES_PER_CELL = 2


def carve_room(words: chex.Array, *, height: int, width: int) -> chex.Array:
  """Carves a connected room by the walk of a brush of 1 to 4 cells.

  Args:
    words: uint32 [strokes], random.
    height: H, rows with the border.
    width: W, columns with the border.

  Returns:
    bool [H, W], True for walls; the border always is.
  """
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
  start_row = 1 + ((start & 0xFFF) % (height - 2)).astype(jnp.int32)
  start_column = 1 + ((start >> 12) % (width - 2)).astype(jnp.int32)
  floor = jnp.zeros((height, width), bool)
  (floor, _, _), _ = jax.lax.scan(
    stroke, (floor, start_row, start_column), words
  )
  inside = (
    (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
  )
  return ~(floor & inside)


def _ranks(words: chex.Array, allowed: chex.Array) -> chex.Array:
  """Random ranks of the allowed cells, -1 elsewhere, int32 [H * W]."""
  return jnp.where(allowed, (words >> 1).astype(jnp.int32), -1)


def _random_targets(
  words: chex.Array, walls: chex.Array, count: int
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
  ranks, cells = jax.lax.top_k(_ranks(words, floor & follows), count)
  return cells.astype(jnp.int32), ranks[-1] >= 0


def _random_player(
  words: chex.Array, walls: chex.Array, targets: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """A floor cell beside a target and off all of them, and whether it is."""
  cells = jnp.arange(walls.size, dtype=jnp.int32)
  beside = targets[:, None] + cell_offsets(walls.shape[1])
  allowed = (
    ~walls.reshape(-1)
    & jnp.any(cells[:, None] == beside.reshape(-1), axis=-1)
    & jnp.all(cells[:, None] != targets, axis=-1)
  )
  ranks = _ranks(words, allowed)
  player = jnp.argmax(ranks).astype(jnp.int32)
  return player, ranks[player] >= 0


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
  num_cells = height * width
  sizes = (
    _STROKES_PER_CELL * (height - 2) * (width - 2),
    num_cells,
    num_cells,
    MOVES_PER_LENGTH * max_length,
  )
  # All at once: each call of the random bit generator costs compile time.
  words = jax.random.bits(key, (sum(sizes),), jnp.uint32)
  stroke_words, target_words, player_words, move_words = jnp.split(
    words, np.cumsum(sizes[:-1])
  )
  walls = carve_room(stroke_words, height=height, width=width)
  target_cells, has_targets = _random_targets(target_words, walls, num_boxes)
  player, has_player = _random_player(player_words, walls, target_cells)
  play = play_backwards(
    move_words, walls, target_cells, player, max_length=max_length
  )
  far_enough = play.best_score >= score_of(num_boxes, 2 * num_boxes)
  length = jnp.where(has_targets & has_player & far_enough, play.best_length, 0)
  cells = np.arange(num_cells, dtype=np.int32).reshape(height, width)

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
