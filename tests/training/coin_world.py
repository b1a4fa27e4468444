"""A text world of three rooms in a row; the coin lies in the last one.

Modules of worlds are opened in workers, so this one imports no test.
"""

from graphgpo_jax.envs.text import types

_ROOMS = ("kitchen", "hall", "attic")
STATE_KEYS = {
  "recipe": lambda step: step.observation,
  "true": lambda step: step.facts["true_state"],
}


def floor_key(step):
  """A state key by path: the attic is upstairs, the rest is not."""
  return "upstairs" if "attic" in step.observation else "downstairs"


class Coin:
  """Tasks are "coin-K"; where K is 13 the engine breaks at the first step."""

  name = "coin"

  def reset(self, task_id, *, seed=0):
    del seed
    kind, _, number = task_id.partition("-")
    if kind != "coin":
      raise ValueError(f"no such task: {task_id!r}")
    self._number, self._place = int(number), 0
    return self._say()

  def step(self, action):
    if self._number == 13:
      raise types.TextWorldError("the engine broke")
    won = action == "take coin" and self._place == 2
    moves = {"move up": 1, "move down": -1}
    self._place = min(max(self._place + moves.get(action, 0), 0), 2)
    return self._say(reward=0.5, success=won, terminated=won)

  def plan(self):
    return ["move up"] * (2 - self._place) + ["take coin"]

  def close(self):
    self._place = 0

  def _say(self, **fields):
    room = _ROOMS[self._place]
    commands = ["move down", "move up", "wait"]
    if self._place == 2:
      commands.append("take coin")
    return types.TextStep(
      observation=f"You are in the {room}.",
      task="Take the coin.",
      admissible_actions=tuple(sorted(commands)),
      facts={"true_state": room},
      **fields,
    )


def make(**options):
  if options:
    raise ValueError(f"no option {sorted(options)[0]!r}")
  return Coin()


def task_ids(*, side, first=0):
  start = {"train": first, "evaluation": first + 100}[side]
  return [f"coin-{number}" for number in range(start, start + 10)]
