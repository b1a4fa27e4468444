"""Sokoban as a text environment."""

from graphgpo_jax.envs.text import episode_clock, types
from graphgpo_jax.envs.text.sokoban import rules, tasks

_TASK = (
  "Push every box onto a target. You push a box by walking into it; you cannot "
  f"pull one, nor push two at once. The signs are: {rules.LEGEND}."
)
# gym-sokoban's: of a step, of a box onto or off a target, of the end.
_STEP, _BOX, _FINISHED = -0.1, 1.0, 10.0


class TextSokoban:
  """One room at a time, the grid as text.

  Actions are up, down, left and right. One that moves nothing is not valid and
  only costs a step; those that move something are the admissible ones (all
  four, where the player is walled in). Success ends the episode. Nothing is
  random.

  Facts: "true_state", the grid.
  """

  name = "sokoban_text"

  def __init__(self, *, max_steps: int = 15, gym_rewards: bool = False):
    """Opens the warehouse.

    Args:
      max_steps: actions of an episode; the default is the longest known
        solution of the tasks that `task_ids` lists by default.
      gym_rewards: pay as gym-sokoban does: -0.1 a step, 1 for a box onto a
        target, -1 for one off it, 10 for the last. Otherwise, as on the
        device, 1 for success and nothing else.

    Raises:
      ValueError: `max_steps` is not positive.
    """
    self._clock = episode_clock.EpisodeClock(max_steps=max_steps)
    self._gym_rewards = gym_rewards

  def reset(self, task_id: str, *, seed: int = 0) -> types.TextStep:
    """Begins an episode; see `TextEnvironment`."""
    del seed
    self._clock.stop()
    task = tasks.task_of(task_id)
    self._room, self._position = task.room, task.start
    self._clock.begin()
    return self._say()

  def step(self, action: str) -> types.TextStep:
    """Does an action; see `TextEnvironment`."""
    self._clock.check()
    word = action.strip().lower()
    before, after = self._position, None
    if word in rules.ACTIONS:
      after = rules.move(self._room, before, rules.ACTIONS.index(word))
    self._position = after or before
    solved = rules.is_solved(self._room, self._position)
    reward = float(solved)
    if self._gym_rewards:
      gained = self._on_target(self._position) - self._on_target(before)
      reward = _STEP + _BOX * gained + _FINISHED * solved
    return self._say(
      reward=reward,
      terminated=solved,
      truncated=self._clock.tick(terminated=solved),
      success=solved,
      action_valid=after is not None,
    )

  def plan(self) -> tuple[str, ...]:
    """A shortest solution from here: an expert to imitate.

    Returns:
      Commands; none where a box was pushed to where no solution is left.

    Raises:
      ValueError: no episode has begun, or it is over.
    """
    self._clock.check()
    found = rules.shortest_solution(self._room, self._position)
    return tuple(rules.ACTIONS[action] for action in found or ())

  def close(self) -> None:
    """Ends the episode."""
    self._clock.stop()

  def _on_target(self, position: rules.Position) -> int:
    return len(position.boxes & self._room.targets)

  def _say(self, **fields) -> types.TextStep:
    grid = rules.write(self._room, self._position)
    admissible = [
      name
      for action, name in enumerate(rules.ACTIONS)
      if rules.move(self._room, self._position, action) is not None
    ]
    return types.TextStep(
      # So that the grid's first line begins a line, wherever it is shown.
      observation=f"The room:\n{grid}",
      task=_TASK,
      admissible_actions=tuple(sorted(admissible or rules.ACTIONS)),
      facts={"true_state": grid},
      **fields,
    )
