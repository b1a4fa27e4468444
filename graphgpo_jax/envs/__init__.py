"""Environments on the device, each in a folder of its own."""

from typing import Any

from graphgpo_jax.envs import types

ENVIRONMENTS = ("household", "sokoban")


def make_environment(name: str, **options: Any) -> types.Environment:
  """Builds an environment by name.

  Args:
    name: one of `ENVIRONMENTS`.
    **options: keywords of the environment's class.

  Returns:
    The environment.

  Raises:
    ValueError: no such environment, or it takes no such option.
  """
  # Imported here, so that a room is opened only by who enters it.
  factory: Any
  if name == "household":
    from graphgpo_jax.envs import household

    factory = household.Household
  elif name == "sokoban":
    from graphgpo_jax.envs import sokoban

    factory = sokoban.Sokoban
  else:
    raise ValueError(
      f"unknown environment {name!r}; there are {', '.join(ENVIRONMENTS)}"
    )
  try:
    return factory(**options)
  except TypeError as error:
    raise ValueError(f"environment {name}: {error}") from error
