"""State keys of ALFWorld: which situations are the same to the credit."""

import types
from collections.abc import Mapping

from graphgpo_jax.envs.text.types import StateKeyFn, TextStep

# Parts of a key are kept apart by what no part contains.
_SEPARATOR = "\x1f"


def recipe_key(step: TextStep) -> str:
  """The published recipe's key.

  Observation, location, holdings and the sorted admissible commands; the world
  gives the commands sorted.
  """
  return _SEPARATOR.join(
    (
      step.observation,
      step.facts["location"],
      step.facts["holdings"],
      *step.admissible_actions,
    )
  )


def true_key(step: TextStep) -> str:
  """The facts that change, without who looked at what."""
  return step.facts["true_state"]


def observation_key(step: TextStep) -> str:
  """The text alone: a bad key, since the same text stands for many states."""
  return step.observation


STATE_KEYS: Mapping[str, StateKeyFn] = types.MappingProxyType(
  {
    "recipe": recipe_key,
    "true": true_key,
    "observation": observation_key,
  }
)
