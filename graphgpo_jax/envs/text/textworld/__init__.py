"""TextWorld: games generated on this machine, without a download.

Task ids: "game/parameters/seed", such as "coin_collector/level=5/17",
"treasure_hunter/level=12/3" or "cooking/cook=1,go=6,recipe=1,take=1/8". A hash
of the id says the side.
"""

from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text import state_keys
from graphgpo_jax.envs.text.textworld.games import task_ids
from graphgpo_jax.envs.text.types import StateKeyFn, TextEnvironment

__all__ = ["STATE_KEYS", "make", "task_ids"]

STATE_KEYS: Mapping[str, StateKeyFn] = {
  "recipe": state_keys.recipe_key,
  "observation": state_keys.observation_key,
  "true": state_keys.true_key,
}


def make(**options: Any) -> TextEnvironment:
  """Makes an environment; the options are those of `env.TextWorld`."""
  from graphgpo_jax.envs.text.textworld import env

  return env.TextWorld(**options)
