"""The true state of a cookingworld game, from the engine's own objects."""

import json
from collections.abc import Mapping
from typing import Any

# The only game of version 1.1.0 whose objects the engine tells.
GAME = "cookingworld"


def _changing(thing: Any) -> Any:
  """A thing with what is neither False nor empty, so that it stays short."""
  if isinstance(thing, Mapping):
    kept = {name: _changing(value) for name, value in thing.items()}
    return {name: value for name, value in kept.items() if value}
  return thing


def true_state(tree: Mapping[str, Any], *, score: float) -> str:
  """A text, the same exactly where the objects and the score are.

  Args:
    tree: what the engine writes of its objects.
    score: of the episode so far; parts of it are paid once only, so that
      future rewards depend on it.

  Raises:
    ValueError: the tree is empty: the game is another one.
  """
  if not tree:
    raise ValueError(f"the engine tells the objects of {GAME} only")
  return json.dumps(
    {"score": score, "objects": _changing(tree)},
    sort_keys=True,
    separators=(",", ":"),
  )
