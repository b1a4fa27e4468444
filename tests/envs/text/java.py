"""Skips tests of Java engines where there is no Java."""

import pytest

from graphgpo_jax.envs.text import jvm
from graphgpo_jax.envs.text.types import TextWorldError


def _missing() -> str:
  """What is wrong with Java; "" where it is there."""
  try:
    jvm.find_java()
  except TextWorldError as error:
    return str(error)
  return ""


needs_java = pytest.mark.skipif(bool(_missing()), reason=_missing() or "none")
