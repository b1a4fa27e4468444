"""Shortest solutions of small rooms, by breadth-first search on the host."""

import numpy as np

from graphgpo_jax.envs.sokoban.types import (
  NUM_ACTIONS,
  SokobanState,
  SokobanTask,
  cell_offsets,
  grids_of,
)


def shortest_solution(
  task: SokobanTask | SokobanState, limit: int
) -> np.ndarray | None:
  """Finds a solution with as few actions as possible.

  The search visits positions in the order of their distance from the start. It
  takes milliseconds for rooms of 6x6 with one box and a second or so for two;
  it grows with the number of ways to place player and boxes.

  Args:
    task: an unbatched task or state.
    limit: longest solution to look for, in actions.

  Returns:
    int32 [length], the actions of a shortest solution, so that its length is
    the optimum; None if none has at most `limit` actions.
  """
  walls, target_grid, box_grid, player = grids_of(task)
  offsets = cell_offsets(walls.shape[1]).tolist()
  wall = walls.reshape(-1).tolist()
  targets = frozenset(np.flatnonzero(target_grid).tolist())
  boxes = frozenset(np.flatnonzero(box_grid).tolist())
  start = (player, boxes)
  if boxes <= targets:
    return np.zeros((0,), np.int32)
  # How each position was first reached: from where, by which action.
  reached = {start: (start, -1)}
  frontier = [start]
  for _ in range(limit):
    next_frontier = []
    for position in frontier:
      player, boxes = position
      for action in range(NUM_ACTIONS):
        front = player + offsets[action]
        if wall[front]:
          continue
        moved_boxes = boxes
        if front in boxes:
          beyond = front + offsets[action]
          if wall[beyond] or beyond in boxes:
            continue
          moved_boxes = boxes - {front} | {beyond}
        next_position = (front, moved_boxes)
        if next_position in reached:
          continue
        reached[next_position] = (position, action)
        if moved_boxes <= targets:
          return _actions_to(next_position, reached)
        next_frontier.append(next_position)
    frontier = next_frontier
  return None


def _actions_to(position, reached) -> np.ndarray:
  """Actions that led from the start to `position`, int32 [length]."""
  actions: list[int] = []
  while True:
    position, action = reached[position]
    if action < 0:
      return np.asarray(actions[::-1], np.int32)
    actions.append(action)
