"""Messages between a pool and its workers: JSON, so that data stays data.

What an engine or a game file made is never unpickled on the side that trains.
"""

import json
from typing import Any

from graphgpo_jax.envs.text import types


def encode(message: Any) -> bytes:
  """A message as bytes; any text goes through, half surrogate pairs too."""
  return json.dumps(message).encode()


def decode(data: bytes) -> Any:
  """A message from its bytes."""
  return json.loads(data)


def pack_step(step: types.TextStep) -> dict[str, Any]:
  """A step as plain values.

  Engines return numbers and texts of their own types; here they become
  Python's.

  Args:
    step: what an environment returned.

  Returns:
    dict by the names of TextStep's fields.
  """
  return {
    "observation": str(step.observation),
    "task": str(step.task),
    "admissible_actions": list(map(str, step.admissible_actions)),
    "reward": float(step.reward),
    "terminated": bool(step.terminated),
    "truncated": bool(step.truncated),
    "success": bool(step.success),
    "action_valid": bool(step.action_valid),
    "cost": float(step.cost),
    "facts": {str(name): str(text) for name, text in step.facts.items()},
  }


def unpack_step(fields: dict[str, Any]) -> types.TextStep:
  """The step that `pack_step` packed."""
  actions = tuple(fields["admissible_actions"])
  return types.TextStep(**(fields | {"admissible_actions": actions}))
