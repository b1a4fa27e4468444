"""Packages of the extras, imported where they are used only."""

import importlib
from typing import Any


def require(module: str, purpose: str, *, extra: str) -> Any:
  """Imports a module of an extra.

  Args:
    module: its name.
    purpose: what needs it, to start the error with.
    extra: the extra's name in setup.cfg.

  Returns:
    The module.

  Raises:
    ImportError: it is missing; the message names the command that brings it.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    package = (error.name or module).split(".")[0]
    raise ImportError(
      f'{purpose} needs {package}: pip install "graphgpo-jax[{extra}]"'
    ) from error
