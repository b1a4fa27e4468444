"""The text worlds by name. A world's engine is imported when it is made.

A name with a dot is the path of a module of the user's, which has `make`,
`task_ids` and `STATE_KEYS` as the worlds' packages here have. A state key with
a colon, `package.module:function`, is a function of the user's for any world.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from graphgpo_jax.envs.text.types import StateKeyFn, TextEnvironment, TextStep

WORLDS: Mapping[str, str] = {
  "alfworld": "graphgpo_jax.envs.text.alfworld",
  "scienceworld": "graphgpo_jax.envs.text.scienceworld",
  # The bare name is the on-device world's.
  "sokoban_text": "graphgpo_jax.envs.text.sokoban",
  "textworld": "graphgpo_jax.envs.text.textworld",
  "textworld_express": "graphgpo_jax.envs.text.textworld_express",
  "webshop": "graphgpo_jax.envs.text.webshop",
}


_INTERFACE = ("make", "task_ids", "STATE_KEYS")


def is_world(name: str) -> bool:
  """Whether the name may be a text world's: of the table, or with a dot."""
  return name in WORLDS or "." in name


def _world(name: str) -> Any:
  if not is_world(name):
    raise ValueError(
      f"no such text world: {name!r}; expected one of {', '.join(WORLDS)}, or "
      "the path of a module of your own"
    )
  try:
    module = importlib.import_module(WORLDS.get(name, name))
  except ModuleNotFoundError as error:
    if name in WORLDS:
      raise
    raise ValueError(f"text world {name!r}: {error}") from error
  missing = [part for part in _INTERFACE if not hasattr(module, part)]
  if missing:
    raise ValueError(f"text world {name!r} lacks {', '.join(missing)}")
  return module


def make(name: str, **options: Any) -> TextEnvironment:
  """Makes an environment.

  Args:
    name: of the world.
    **options: of the world's `make`.

  Raises:
    ValueError: there is no such world, or an option is wrong.
    ImportError: a package is missing that the world needs.
    TextWorldError: the engine does not start.
  """
  return _world(name).make(**options)


def task_ids(name: str, *, side: str, **options: Any) -> Iterable[str]:
  """Tasks of one side of a world.

  Args:
    name: of the world.
    side: "train" or "evaluation".
    **options: of the world's `task_ids`.

  Raises:
    ValueError: there is no such world or side, or an option is wrong.
  """
  return _world(name).task_ids(side=side, **options)


def key_kinds(name: str) -> tuple[str, ...]:
  """The kinds of state key that a world has.

  Raises:
    ValueError: there is no such world.
  """
  return tuple(_world(name).STATE_KEYS)


def state_key(name: str, kind: str) -> StateKeyFn:
  """A world's state key.

  Args:
    name: of the world.
    kind: such as "recipe", "observation" or "true"; or the path of a function
      of a step, `package.module:function`.

  Returns:
    The key. One by its path raises ValueError where it returns no text.

  Raises:
    ValueError: there is no such world, or it has no such key.
  """
  kinds = _world(name).STATE_KEYS
  if ":" in kind:
    return _function(kind)
  if kind not in kinds:
    raise ValueError(
      f"{name} has no state key {kind!r}; expected one of {', '.join(kinds)}, "
      "or module:function of your own"
    )
  return kinds[kind]


def _function(path: str) -> StateKeyFn:
  module, _, name = path.partition(":")
  try:
    found = getattr(importlib.import_module(module), name, None)
  except (ImportError, ValueError, TypeError) as error:
    raise ValueError(f"state key {path!r}: {error}") from error
  if not callable(found):
    raise ValueError(f"state key {path!r}: {module} has no function {name!r}")

  def checked(step: TextStep) -> str:
    key = found(step)
    if not isinstance(key, str):
      raise ValueError(
        f"state key {path!r}: expected text, got {type(key).__name__}"
      )
    return key

  return checked


def key_options(name: str, kind: str) -> dict[str, Any]:
  """What a world's `make` must be told for a state key.

  Raises:
    ValueError: there is no such world, or it has no such key.
  """
  state_key(name, kind)
  return dict(getattr(_world(name), "KEY_OPTIONS", {}).get(kind, {}))
