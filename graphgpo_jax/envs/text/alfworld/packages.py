"""The packages that ALFWorld needs, imported where they are used only."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from graphgpo_jax.envs.text import text_extra

DATA_VARIABLE = "ALFWORLD_DATA"


def require(module: str) -> Any:
  """Imports a module of the extra [text].

  Args:
    module: its name, of alfworld, textworld or fast_downward.

  Returns:
    The module.

  Raises:
    ImportError: a package is missing; the message names the command that
      brings it.
  """
  imported = sys.modules.get(module)
  if imported is not None:
    return imported
  with _data_folder():
    return text_extra.require(module, "ALFWorld")


@contextlib.contextmanager
def _data_folder() -> Iterator[None]:
  """Gives alfworld a folder to find when it is imported.

  The import makes the folder that ALFWORLD_DATA names, or one in the user's
  home, and sets the variable for good. A folder that is there stays named;
  otherwise alfworld is shown one that lasts for the import.
  """
  named = os.environ.get(DATA_VARIABLE)
  if named is not None and os.path.isdir(named):
    yield
    return
  with tempfile.TemporaryDirectory() as folder:
    os.environ[DATA_VARIABLE] = folder
    try:
      yield
    finally:
      if named is None:
        os.environ.pop(DATA_VARIABLE, None)
      else:
        os.environ[DATA_VARIABLE] = named
