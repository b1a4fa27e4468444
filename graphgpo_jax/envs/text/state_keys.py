"""State keys that several worlds share."""

import json
from collections.abc import Sequence

from graphgpo_jax.envs.text.types import TextStep


def joined(parts: Sequence[str]) -> str:
  """One text of several, so that no two lists of parts give the same one."""
  return json.dumps(list(parts), ensure_ascii=False)


def sorted_lines(text: str) -> str:
  """The lines of a text in alphabetical order."""
  return "\n".join(sorted(text.splitlines()))


def fact(step: TextStep, name: str, option: str = "") -> str:
  """A fact that a key is made of.

  Args:
    step: what a world said.
    name: of the fact.
    option: of the world's `make`, by which it gives the fact.

  Raises:
    ValueError: the step has no such fact; the message names the option.
  """
  if name not in step.facts:
    hint = f": make the world with {option}" if option else ""
    raise ValueError(f"this state key needs the fact {name!r}{hint}")
  return step.facts[name]


def observation_key(step: TextStep) -> str:
  """The observation's text alone: forgets whatever it does not tell."""
  return step.observation


def recipe_key(step: TextStep) -> str:
  """Observation, surroundings, holdings and sorted admissible actions."""
  return joined(
    [
      step.observation,
      fact(step, "look"),
      fact(step, "inventory"),
      *sorted(step.admissible_actions),
    ]
  )


def true_key(step: TextStep) -> str:
  """The engine's own state, where the world gives it."""
  return fact(step, "true_state", "true_state=True")
