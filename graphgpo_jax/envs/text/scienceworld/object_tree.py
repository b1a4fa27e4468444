"""ScienceWorld's true state, from the engine's own objects."""

import json
from collections.abc import Mapping
from typing import Any

# Two replays differ in the last digits of temperatures, since the engine adds
# numbers up in no fixed order.
_DIGITS = 0


def _rounded(thing: Any) -> Any:
  if isinstance(thing, float):
    return round(thing, _DIGITS)
  if isinstance(thing, Mapping):
    kept = {name: _rounded(value) for name, value in thing.items()}
    return {
      name: value for name, value in kept.items() if value not in (None, {})
    }
  if isinstance(thing, list):
    return sorted((_rounded(item) for item in thing), key=json.dumps)
  return thing


def true_state(tree: Mapping[str, Any], *, progress: str) -> str:
  """A text that is the same where two states' objects and progress are.

  Temperatures move with every step, so that a state seldom comes again. Any
  state that the engine does not write of its objects is missing.

  Args:
    tree: what the engine writes of its objects.
    progress: which goals of the task were reached, in the engine's words.
  """
  return json.dumps(
    {"progress": progress, "objects": _rounded(tree)},
    sort_keys=True,
    separators=(",", ":"),
  )
