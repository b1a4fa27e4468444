"""Loaded copies of the planner's library, used again rather than unloaded.

Each copy holds one world's state. Unloading them as `fast_downward.close_lib`
does crashes the process after a few times, so a copy that is given back waits
for the next who needs one.
"""

import ctypes
from typing import Any

from graphgpo_jax.envs.text.alfworld import packages

_idle: list[Any] = []


def borrow() -> Any:
  """A copy of the library that nobody else uses, without a world."""
  if _idle:
    return _idle.pop()
  library = packages.require("fast_downward").load_lib()
  library.get_state_id.restype = ctypes.c_int
  library.set_state_id.argtypes = [ctypes.c_int]
  library.set_state_id.restype = None
  return library


def give_back(library: Any) -> None:
  """Ends a copy's world and lets others use the copy."""
  library.cleanup()
  _idle.append(library)
