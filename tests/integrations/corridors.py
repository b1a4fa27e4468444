"""Corridors whose observations are of every kind of space."""

import gymnasium
import numpy as np
from gymnasium import spaces

GOAL, LIMIT = 3, 5
LEFT, RIGHT = 0, 1


class Names(spaces.Space):
  """A space that Gymnasium knows nothing of."""

  def sample(self, mask=None):
    return "0"

  def contains(self, x):
    return isinstance(x, str)


SPACES = {
  "discrete": spaces.Discrete(GOAL + 1),
  "box": spaces.Box(0, GOAL, (2,), np.float32),
  "dict": spaces.Dict(
    {"place": spaces.Discrete(GOAL + 1), "name": Names((), None)}
  ),
  "tuple": spaces.Tuple(
    (spaces.Box(0, GOAL, (1,), np.float32), spaces.Discrete(GOAL + 1))
  ),
}


def observe(kind, place):
  """An observation; an array is of another type than its space's."""
  return {
    "discrete": place,
    "box": np.array([place, 0.1], np.float64),
    "dict": {"name": str(place), "place": place},
    "tuple": (np.array([place], np.float64), place),
  }[kind]


class Corridor(gymnasium.Env):
  """Walks from place 0; GOAL pays 1 and ends it, LIMIT steps cut it."""

  def __init__(self, kind="discrete"):
    self.kind = kind
    self.observation_space = SPACES[kind]
    self.action_space = spaces.Discrete(2)

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.place, self.steps = 0, 0
    return observe(self.kind, 0), {"fresh": True}

  def step(self, action):
    self.steps += 1
    self.place = max(self.place + (1 if action == RIGHT else -1), 0)
    arrived = self.place == GOAL
    info = {"success": arrived, "steps": {"taken": self.steps}}
    found = observe(self.kind, self.place)
    return found, float(arrived), arrived, self.steps == LIMIT, info
