"""Environments by name, for processes that make their own."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from graphgpo_jax.envs.text import types

_REGISTRY = "graphgpo_jax.envs.text.registry"


@dataclasses.dataclass(frozen=True)
class WorldFactory:
  """Makes a registered text world; can be sent to another process.

  Attributes:
    name: of the world, as `graphgpo_jax.envs.text.registry` knows it.
    options: keywords of the world's `make`.
  """

  name: str
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __call__(self) -> types.TextEnvironment:
    """Makes an environment.

    Raises:
      ValueError: there is no such world, or an option is wrong.
      ImportError: a package is missing that the world needs.
      TextWorldError: the engine does not start.
    """
    registry = importlib.import_module(_REGISTRY)
    return registry.make(self.name, **self.options)
