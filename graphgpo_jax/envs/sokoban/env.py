"""Sokoban on device: push every box onto a target.

`step` is written for thousands of environments in one `jax.vmap`: a state packs
the room's cells into words, and only the observation looks at every cell.
"""

import functools

import chex
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit.fingerprints import fingerprint
from graphgpo_jax.envs.sokoban.generator import attempt_task
from graphgpo_jax.envs.sokoban.types import (
  NUM_ACTIONS,
  NUM_CELL_KINDS,
  SokobanState,
  SokobanTask,
  cell_kinds,
  cell_offsets,
  pack_cells,
  unpack_cells,
)
from graphgpo_jax.envs.split import sample_from_side
from graphgpo_jax.envs.types import EnvironmentSpec, Observation, StepInfo


def _check_range(name: str, value: int, low: int, high: int) -> None:
  """Raises ValueError unless low <= value <= high."""
  if not low <= value <= high:
    raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def _bit(cell: chex.Array, num_words: int) -> chex.Array:
  """Words with the bit of one cell set, uint32 [S]."""
  words = jnp.arange(num_words, dtype=jnp.int32)
  bit = jnp.uint32(1) << (cell & 31).astype(jnp.uint32)
  return jnp.where(words == cell >> 5, bit, jnp.uint32(0))


def _is_set(words: chex.Array, cells: chex.Array) -> chex.Array:
  """Looks cells up in words [S]: bool, of the shape of `cells`."""
  return (words[cells >> 5] >> (cells & 31).astype(jnp.uint32)) & 1 != 0


class Sokoban:
  """Sokoban with a sparse reward, as an `envs.types.Environment`.

  Actions 0 to 3 are up, right, down, left. A move into a wall, or into a box
  with no free cell behind it, is not valid and only advances the clock. The
  reward is 1.0 on a step after which every box stands on a target, which ends
  the episode, and 0.0 on every other step.

  An observation has a token per cell, row by row, with two features: the cell
  kind (see types.py) and the cell's number.

  Attributes:
    spec: the static facts, see `EnvironmentSpec`.
    height: H, rows of the room with its border walls.
    width: W, columns of the room with its border walls.
    num_boxes: boxes, and targets, of the tasks that it draws.
  """

  def __init__(
    self,
    *,
    height: int = 6,
    width: int = 6,
    num_boxes: int = 1,
    horizon: int = 30,
  ):
    """Sets the sizes.

    Args:
      height: rows, 6 to 10.
      width: columns, 6 to 10.
      num_boxes: boxes of a drawn task, 1 to 3. A task from elsewhere, such as
        a Boxoban level, may have any number of them.
      horizon: step limit of an episode, 15 to 120. A drawn task's solution is
        no longer than this.

    Raises:
      ValueError: an argument is out of its range.
    """
    _check_range("height", height, 6, 10)
    _check_range("width", width, 6, 10)
    _check_range("num_boxes", num_boxes, 1, 3)
    _check_range("horizon", horizon, 15, 120)
    self.height = height
    self.width = width
    self.num_boxes = num_boxes
    self.spec = EnvironmentSpec(
      name="sokoban",
      num_tokens=height * width,
      feature_sizes=(NUM_CELL_KINDS, height * width),
      num_pointer_actions=0,
      pointer_start=0,
      num_fixed_actions=NUM_ACTIONS,
      horizon=horizon,
    )

  def sample_task(self, key: chex.PRNGKey) -> SokobanTask:
    """Draws a solvable task of the training side; see generator.py.

    Args:
      key: PRNG key.

    Returns:
      A task with a solution of at most `horizon` actions.
    """
    return self._sample(key, evaluation=False)

  def sample_evaluation_task(self, key: chex.PRNGKey) -> SokobanTask:
    """Draws a solvable task of the evaluation side, never seen in training.

    Args:
      key: PRNG key.

    Returns:
      A task with a solution of at most `horizon` actions.
    """
    return self._sample(key, evaluation=True)

  def task_fingerprint(self, task: SokobanTask) -> chex.Array:
    """Fingerprint of a task's layout; it decides the side of the split.

    Args:
      task: a task; its solution plays no part.

    Returns:
      uint32 [2].
    """
    height, width = task.walls.shape
    sizes = jnp.asarray([height, width], jnp.uint32)
    return fingerprint(
      jnp.concatenate(
        [
          sizes,
          pack_cells(task.walls),
          pack_cells(task.targets),
          pack_cells(task.boxes),
          task.player.astype(jnp.uint32)[None],
        ]
      )
    )

  def reset(
    self, key: chex.PRNGKey, task: SokobanTask
  ) -> tuple[SokobanState, Observation]:
    """Start state of a task.

    Args:
      key: unused, since the world has no randomness of its own.
      task: the task, of this environment's height and width.

    Returns:
      The state at t = 0 and its observation.
    """
    del key
    chex.assert_shape(
      [task.walls, task.targets, task.boxes], (self.height, self.width)
    )
    state = SokobanState(
      walls=pack_cells(task.walls),
      targets=pack_cells(task.targets),
      boxes=pack_cells(task.boxes),
      player=task.player,
      width=jnp.asarray(self.width, jnp.int32),
      t=jnp.zeros((), jnp.int32),
    )
    return state, self.observe(state)

  def step(
    self, state: SokobanState, action: chex.Array
  ) -> tuple[
    SokobanState, Observation, chex.Array, chex.Array, chex.Array, StepInfo
  ]:
    """Moves the player, and the box in front of it.

    Args:
      state: the current state.
      action: int32 [], in [0, 4), or 4 to wait.

    Returns:
      The next state and its observation; the reward, float32 []; whether the
      episode terminated (solved), bool []; whether it was truncated (step
      limit reached, not solved), bool []; and the step's info. A state past
      its end can be stepped: a solved one counts as solved while it stays so.
    """
    # The fifth action goes nowhere: it waits.
    offset = jnp.asarray(np.append(cell_offsets(self.width), 0))[action]
    front = state.player + offset
    moves, pushes = self._effect(state, offset)
    num_words = state.boxes.size
    pushed = (state.boxes & ~_bit(front, num_words)) | _bit(
      front + offset, num_words
    )
    next_state = SokobanState(
      walls=state.walls,
      targets=state.targets,
      boxes=jnp.where(pushes, pushed, state.boxes),
      player=jnp.where(moves, front, state.player),
      width=state.width,
      t=state.t + 1,
    )
    solved = jnp.all(next_state.boxes & ~next_state.targets == 0)
    truncated = (next_state.t >= self.spec.horizon) & ~solved
    return (
      next_state,
      self.observe(next_state),
      solved.astype(jnp.float32),
      solved,
      truncated,
      StepInfo(action_valid=moves, success=solved),
    )

  def observe(self, state: SokobanState) -> Observation:
    """What the policy sees of a state.

    Args:
      state: a state.

    Returns:
      tokens int32 [H * W, 2], token_mask all True, and action_mask bool [4],
      True where the action would move the player. A player who is walled in
      gets an all-True mask, so that a masked softmax is always defined.
    """
    num_cells = self.spec.num_tokens
    cells = jnp.arange(num_cells, dtype=jnp.int32)
    moves = self.admissible_actions(state)
    kinds = cell_kinds(
      unpack_cells(state.walls, num_cells),
      unpack_cells(state.targets, num_cells),
      unpack_cells(state.boxes, num_cells),
      state.player,
    )
    is_kind = jnp.arange(2) == 0  # a select fuses where a stack would not
    return Observation(
      tokens=jnp.where(is_kind, kinds[:, None], cells[:, None]),
      token_mask=jnp.ones(cells.shape, bool),
      action_mask=moves | ~jnp.any(moves),
    )

  def state_key(self, state: SokobanState) -> chex.Array:
    """Fingerprint of the boxes and the player.

    Walls and targets are left out because a state graph holds rollouts of one
    task only, within which they never change; the clock is left out because a
    position reached at two times is one state.

    Args:
      state: a state.

    Returns:
      uint32 [2].
    """
    player = state.player.astype(jnp.uint32)[None]
    return fingerprint(jnp.concatenate([state.boxes, player]))

  def admissible_actions(self, state: SokobanState) -> chex.Array:
    """Bool [4], True where the action would move the player."""
    offsets = jnp.asarray(cell_offsets(self.width))
    return self._effect(state, offsets)[0]

  def _sample(self, key: chex.PRNGKey, *, evaluation: bool) -> SokobanTask:
    """Attempts tasks until one succeeds on the wanted side."""
    return sample_from_side(
      functools.partial(
        attempt_task,
        height=self.height,
        width=self.width,
        num_boxes=self.num_boxes,
        max_length=self.spec.horizon,
      ),
      self.task_fingerprint,
      key,
      evaluation=evaluation,
      accept=lambda task: task.solution_length > 0,
    )

  def _effect(
    self, state: SokobanState, offset: chex.Array
  ) -> tuple[chex.Array, chex.Array]:
    """Whether moves by `offset` move the player, and whether they push."""
    front = state.player + offset
    # Beyond a border wall lies another row or nothing; either way the wall in
    # front forbids the move.
    beyond = front + offset
    wall = _is_set(state.walls, front)
    box = _is_set(state.boxes, front)
    stuck = _is_set(state.walls | state.boxes, beyond)
    return ~wall & ~(box & stuck), ~wall & box & ~stuck
