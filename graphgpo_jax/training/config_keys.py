"""Whether a config has the keys of its default, and no other."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import ml_collections


def check_keys(
  config: ml_collections.ConfigDict,
  known: ml_collections.ConfigDict,
  *,
  open_sections: Collection[str] = (),
) -> None:
  """Compares a config with the default that it started from.

  Args:
    config: the reader's.
    known: its default.
    open_sections: dotted names of sections whose keys are the reader's own.

  Raises:
    ValueError: a key is missing or does not exist; the message names it.
  """

  def compare(given, known, path):
    for name in given:
      if name not in known:
        raise ValueError(
          f"config key {path}{name} does not exist; there are "
          f"{', '.join(sorted(known))}"
        )
    for name in known:
      if name not in given:
        raise ValueError(f"config key {path}{name} is missing")
      if not isinstance(known[name], ml_collections.ConfigDict):
        continue
      if not isinstance(given[name], ml_collections.ConfigDict):
        raise ValueError(
          f"config.{path}{name} must be a section, got {given[name]!r}"
        )
      if f"{path}{name}" not in open_sections:
        compare(given[name], known[name], f"{path}{name}.")

  compare(config, known, "")


def check_least(
  config: ml_collections.ConfigDict, least: Mapping[str, float]
) -> None:
  """Checks lower bounds of numbers.

  Args:
    config: any.
    least: bound by dotted name.

  Raises:
    ValueError: a value is below its bound; the message names it.
  """
  for name, bound in least.items():
    value: Any = config
    for part in name.split("."):
      value = value[part]
    if not value >= bound:
      raise ValueError(f"config.{name} must be at least {bound}, got {value}")


def check_positive(
  config: ml_collections.ConfigDict, names: Iterable[str]
) -> None:
  """Checks numbers that must exceed 0.

  Args:
    config: any.
    names: dotted names.

  Raises:
    ValueError: a value does not; the message names it.
  """
  for name in names:
    value: Any = config
    for part in name.split("."):
      value = value[part]
    if not value > 0:
      raise ValueError(f"config.{name} must be positive, got {value}")


def choose(name: str, value: str, choices: Mapping[str, Any]) -> Any:
  """What a name in a config stands for.

  Raises:
    ValueError: there is no such choice; the message names those there are.
  """
  if value not in choices:
    raise ValueError(
      f"config.{name}={value!r} does not exist; there are "
      f"{', '.join(sorted(choices))}"
    )
  return choices[value]
