"""Packages of the extra [text], imported where they are used only."""

import importlib
from typing import Any


def require(module: str, purpose: str) -> Any:
  """Imports a module of the extra [text].

  Args:
    module: its name.
    purpose: what needs it, to start the error with.

  Returns:
    The module.

  Raises:
    ImportError: it is missing; the message names the command that brings it.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    package = module.split(".")[0]
    raise ImportError(
      f'{purpose} needs {package}: pip install "graphgpo-jax[text]"'
    ) from error
