"""Environments on the device, each in a folder of its own."""

from typing import Any

from graphgpo_jax.envs import slippery, types

ENVIRONMENTS = ("household", "sokoban")
# What a slip does where nothing is said: a chore fails, a move goes astray.
_SLIP_MODES = {"household": "fail", "sokoban": "other"}


def make_environment(
  name: str,
  *,
  slip: float = 0.0,
  slip_mode: str | None = None,
  **options: Any,
) -> types.Environment:
  """Builds an environment by name.

  Args:
    name: one of `ENVIRONMENTS`.
    slip: probability that an admissible action slips, in [0, 1); 0 gives the
      environment as it is, without a wrapper. See `slippery.Slippery`.
    slip_mode: "fail" (nothing happens) or "other" (another admissible action
      happens); by default "fail" for household and "other" for sokoban.
    **options: keywords of the environment's class.

  Returns:
    The environment.

  Raises:
    ValueError: no such environment, it takes no such option, or a value is
      out of its range.
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
    environment: types.Environment = factory(**options)
  except TypeError as error:
    raise ValueError(f"environment {name}: {error}") from error
  slip_mode = _SLIP_MODES[name] if slip_mode is None else slip_mode
  slippery.check_slip(slip, slip_mode)
  if slip:
    environment = slippery.Slippery(environment, slip=slip, mode=slip_mode)
  return environment
