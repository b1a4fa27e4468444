"""TextWorldExpress: eight small text games in a fast Java engine.

Task ids: "game/parameters/seed", such as "coin/numLocations=5/17" or
"twc/default/20003". The seed says the fold, and so the side: 0 to 999 train,
10000 to 10999 development, 20000 to 20999 evaluation.
"""

from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text import state_keys
from graphgpo_jax.envs.text.textworld_express.games import task_ids
from graphgpo_jax.envs.text.types import StateKeyFn, TextEnvironment

__all__ = ["KEY_OPTIONS", "STATE_KEYS", "make", "task_ids"]

STATE_KEYS: Mapping[str, StateKeyFn] = {
  "recipe": state_keys.recipe_key,
  "observation": state_keys.observation_key,
  # Of cookingworld only: the engine does not tell the others' state.
  "true": state_keys.true_key,
}
# What `make` must be told for a state key.
KEY_OPTIONS: Mapping[str, Mapping[str, Any]] = {"true": {"true_state": True}}


def make(**options: Any) -> TextEnvironment:
  """Starts an engine; the options are those of `env.TextWorldExpress`."""
  from graphgpo_jax.envs.text.textworld_express import env

  return env.TextWorldExpress(**options)
