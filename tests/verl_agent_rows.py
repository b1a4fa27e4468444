"""Rows of verl-agent's batch, and the table that they are by hand."""

import numpy as np

# Two rollouts of one task and one of another, mixed, as a batch may be. In tea
# the first succeeds by hall, kitchen; the second goes hall, cellar, hall.
ROWS = [
  {"uid": uid, "traj_uid": rollout, "anchor_obs": state, **more}
  for uid, rollout, state, more in (
    ("tea", "a", "hall", {"episode_rewards": 10.0, "episode_lengths": 2.0}),
    ("tea", "b", "hall", {"episode_rewards": 0.0, "episode_lengths": 3.0}),
    ("tea", "a", "kitchen", {"episode_rewards": 10.0, "episode_lengths": 2.0}),
    ("ink", "c", "desk", {"episode_rewards": 0.0, "episode_lengths": 1.0}),
    ("tea", "b", "cellar", {"episode_rewards": 0.0, "episode_lengths": 3.0}),
    ("tea", "b", "hall", {"episode_rewards": 0.0, "episode_lengths": 3.0}),
  )
]
# As a table of this package: what follows from the rows above by hand.
TABLE = {
  "task": ["tea", "tea", "tea", "ink", "tea", "tea"],
  "trajectory": ["a", "b", "a", "c", "b", "b"],
  "t": [0, 0, 1, 0, 1, 2],
  "observation": ["hall", "hall", "kitchen", "desk", "cellar", "hall"],
  "next_observation": ["kitchen", "cellar", "?", "lost c", "hall", "lost b"],
  "success": [True, False, True, False, False, False],
  "episode_return": [10.0, 0.0, 10.0, 0.0, 0.0, 0.0],
}


def with_rows(**columns):
  """ROWS with more columns, or None to leave one out."""
  rows = [dict(row) for row in ROWS]
  for name, values in columns.items():
    for row, value in zip(rows, values or [None] * len(rows), strict=True):
      row.pop(name, None)
      if values is not None:
        row[name] = value
  return rows


def batch_of(rows):
  """Rows as verl-agent's batch holds them: arrays of objects."""
  batch = {}
  for name in rows[0]:
    batch[name] = np.empty(len(rows), object)
    for row, values in enumerate(rows):
      batch[name][row] = values[name]
  return batch
