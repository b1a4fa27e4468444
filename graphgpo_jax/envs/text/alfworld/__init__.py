"""ALFWorld: household tasks in text, with the package's own PDDL engine.

  from graphgpo_jax.envs.text import alfworld

  world = alfworld.make()
  step = world.reset("generated/pick_and_place_simple/17")
  for command in world.plan():
    step = world.step(command)

Importing this package imports no engine; `make` does (extra [text]).
"""

import itertools
import os
from collections.abc import Iterable
from typing import Any

from graphgpo_jax.envs.text.alfworld.games import downloaded_ids
from graphgpo_jax.envs.text.alfworld.keys import STATE_KEYS
from graphgpo_jax.envs.text.alfworld.rooms import TASK_TYPES
from graphgpo_jax.envs.text.alfworld.tasks import generated_ids
from graphgpo_jax.envs.text.types import TextEnvironment

__all__ = ["STATE_KEYS", "TASK_TYPES", "make", "task_ids"]

# Generated tasks have no end.
_NUM_TASKS = 1024


def make(**options: Any) -> TextEnvironment:
  """Makes an environment.

  Args:
    **options: of `AlfworldEnvironment`: cache, data, max_steps.

  Returns:
    The environment.

  Raises:
    ImportError: a package of the extra [text] is missing.
  """
  from graphgpo_jax.envs.text.alfworld.environment import AlfworldEnvironment

  return AlfworldEnvironment(**options)


def task_ids(
  *,
  side: str,
  source: str = "generated",
  task_types: Iterable[str] = TASK_TYPES,
  count: int | None = None,
  data: str | os.PathLike[str] | None = None,
) -> tuple[str, ...]:
  """Lists tasks.

  Args:
    side: "train" or "evaluation"; no task is on both.
    source: "generated", or "downloaded" for the user's games.
    task_types: of TASK_TYPES; generated ones take turns.
    count: the first so many; None takes all downloaded games, or 1024
      generated ones.
    data: folder of downloaded games; None takes what ALFWORLD_DATA names.

  Returns:
    Ids for `reset`.

  Raises:
    ValueError: there is no such side, source, type or folder, or the count is
      negative.
  """
  if source == "generated":
    ids = generated_ids(side=side, task_types=task_types)
    count = _NUM_TASKS if count is None else count
  elif source == "downloaded":
    ids = downloaded_ids(side=side, task_types=task_types, data=data)
  else:
    raise ValueError(
      f"no source {source!r} of ALFWorld tasks: expected generated, downloaded"
    )
  if count is not None and count < 0:
    raise ValueError(f"count must not be negative, got {count}")
  return tuple(itertools.islice(ids, count))
