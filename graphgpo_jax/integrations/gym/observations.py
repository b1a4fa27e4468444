"""Observations of Gymnasium's spaces, each in one form and of its own."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from graphgpo_jax.integrations.gym import gym_extra
from graphgpo_jax.tables import state_encoding

_spaces = gym_extra.require("gymnasium.spaces", "recording environments")
_ARRAYS = (_spaces.Box, _spaces.MultiBinary, _spaces.MultiDiscrete)


def pick(space: Any, batch: Any, slot: int) -> Any:
  """The observation or action of one environment of a vector environment.

  Args:
    space: of a single environment. Spaces that Gymnasium cannot batch, such as
      those of other packages, arrive as a tuple with an entry for each.
    batch: of all environments.
    slot: which one.

  Returns:
    Its own, which may be a view into the batch.
  """
  if isinstance(space, _spaces.Dict):
    return {name: pick(part, batch[name], slot) for name, part in space.items()}
  if isinstance(space, _spaces.Tuple):
    return tuple(
      pick(part, piece, slot)
      for part, piece in zip(space.spaces, batch, strict=True)
    )
  return batch[slot]


def state(space: Any, observation: Any) -> Hashable:
  """A value that is equal exactly for equal observations, and stays so.

  Vector environments cast what they return to the space's type, but not the
  final observations in their infos: here all are cast.

  Args:
    space: of a single environment.
    observation: of that space; may be overwritten afterwards.

  Returns:
    A number or text as it is, everything else as `canonical_bytes`.
  """
  plain = _plain(space, observation)
  if plain is None or isinstance(plain, (str, bytes, bool, int, float)):
    return plain
  return state_encoding.canonical_bytes(plain)


def _plain(space: Any, observation: Any) -> Any:
  if isinstance(space, _spaces.Dict) and isinstance(observation, Mapping):
    return {
      name: _plain(part, observation[name]) for name, part in space.items()
    }
  if isinstance(space, _spaces.Tuple):
    return tuple(
      _plain(part, piece)
      for part, piece in zip(space.spaces, observation, strict=True)
    )
  if isinstance(space, _spaces.Discrete):
    return int(observation)
  if isinstance(space, _ARRAYS):
    return np.asarray(observation, space.dtype)
  return (
    observation.item() if isinstance(observation, np.generic) else observation
  )
