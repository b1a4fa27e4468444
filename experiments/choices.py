"""What the binaries read alike from their flags: estimators and seeds."""

from collections.abc import Sequence

from graphgpo_jax.credit import estimators
from graphgpo_jax.training import settings

ALL = "all"


def estimator_names(words: Sequence[str]) -> list[str]:
  """Names of estimators; the single word "all" stands for every one.

  Raises:
    ValueError: there are none, or one comes twice or does not exist.
  """
  names = list(estimators.ESTIMATORS) if list(words) == [ALL] else list(words)
  if not names or len(set(names)) < len(names):
    raise ValueError(f"--estimators takes distinct names, got {names}")
  for name in names:
    settings.make_estimator(name, {})
  return names


def seeds(words: Sequence[str]) -> list[int]:
  """Seeds of runs.

  Raises:
    ValueError: they are no distinct integers, or there are none.
  """
  try:
    numbers = [int(word) for word in words]
  except ValueError as error:
    raise ValueError(
      f"--seeds takes integers, got {','.join(words)}"
    ) from error
  if not numbers or len(set(numbers)) < len(numbers):
    raise ValueError(f"--seeds takes distinct integers, got {numbers}")
  return numbers
