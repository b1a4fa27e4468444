"""Walks over rooms whose descriptions differ in a clock alone."""

import collections
import itertools

import numpy as np

ROOMS = [
  f"You are in the {room}. Exits lead north and south. There is a door and "
  "a window here. The time is "
  for room in ("wide cellar", "old library", "green garden", "attic", "hall")
]
TRAJECTORIES, STEPS = 12, 6


def walks(seed):
  """Walks over rooms: texts that differ in a clock, and the rooms' numbers."""
  rng = np.random.default_rng(seed)
  steps = collections.defaultdict(list)
  clocks = itertools.count(100)
  for trajectory in range(TRAJECTORIES):
    path = rng.integers(0, len(ROOMS), STEPS + 1)
    texts = [f"{ROOMS[room]}{next(clocks)}" for room in path]
    for t in range(STEPS):
      steps["task"].append(trajectory % 2)
      steps["trajectory"].append(trajectory)
      steps["t"].append(t)
      steps["observation"].append(texts[t])
      steps["next_observation"].append(texts[t + 1])
      steps["success"].append(trajectory % 3 == 0)
      steps["room"].append(path[t])
      steps["next_room"].append(path[t + 1])
  return dict(steps)


def by_rooms(steps):
  return {
    **steps,
    "observation": steps["room"],
    "next_observation": steps["next_room"],
  }
