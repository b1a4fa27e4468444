"""ScienceWorld's state keys.

The engine lists things in no fixed order, so the lines of what it says are
sorted. A list within a line stays as it is.
"""

from graphgpo_jax.envs.text import state_keys
from graphgpo_jax.envs.text.types import TextStep

_OPTION = "surroundings=True"


def observation_key(step: TextStep) -> str:
  """The observation alone."""
  return state_keys.sorted_lines(step.observation)


def surroundings_key(step: TextStep) -> str:
  """Observation, look and inventory: what costs next to no time to ask for."""
  return state_keys.joined(
    [
      state_keys.sorted_lines(step.observation),
      state_keys.sorted_lines(state_keys.fact(step, "look", _OPTION)),
      state_keys.sorted_lines(state_keys.fact(step, "inventory", _OPTION)),
    ]
  )


def recipe_key(step: TextStep) -> str:
  """Observation, look, inventory and the valid actions.

  The actions by the engine's numbers: their wording changes by chance.
  """
  valid = state_keys.fact(step, "valid_actions", "admissible_actions=True")
  return state_keys.joined([surroundings_key(step), valid])
