"""ScienceWorld: 30 science tasks in a simulated house.

Task ids: "task/simplifications/variation", such as "boil/easy/3" or
"find-plant/openContainers,openDoors/200". The variation says the side: the
engine's own train, dev and test variations.
"""

from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text import state_keys
from graphgpo_jax.envs.text.scienceworld import keys
from graphgpo_jax.envs.text.scienceworld.tasks import task_ids
from graphgpo_jax.envs.text.types import StateKeyFn, TextEnvironment

__all__ = ["KEY_OPTIONS", "STATE_KEYS", "make", "task_ids"]

STATE_KEYS: Mapping[str, StateKeyFn] = {
  "recipe": keys.recipe_key,
  "surroundings": keys.surroundings_key,
  "observation": keys.observation_key,
  "true": state_keys.true_key,
}
# What `make` must be told for a state key.
KEY_OPTIONS: Mapping[str, Mapping[str, Any]] = {
  "recipe": {"surroundings": True, "admissible_actions": True},
  "surroundings": {"surroundings": True},
  "true": {"true_state": True},
}


def make(**options: Any) -> TextEnvironment:
  """Starts an engine; the options are those of `env.ScienceWorld`."""
  from graphgpo_jax.envs.text.scienceworld import env

  return env.ScienceWorld(**options)
