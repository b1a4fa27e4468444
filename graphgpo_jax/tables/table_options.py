"""Options of `assign_credit`: which there are, and what each may be."""

import dataclasses
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.credit import normalize as normalize_lib

NORMALIZATIONS: Mapping[str, Callable[..., Any]] = {
  "mean_std": normalize_lib.mean_std,
  "mean": normalize_lib.mean_only,
}
DEFAULT_SUCCESS_REWARD = 10.0
# What a table's options say in place of an estimator's normalisers, which are
# functions. Each normaliser keeps its own value of what is not given.
_NORMALIZER_NUMBERS: Mapping[str, float] = {"epsilon": 1e-6, "ddof": 1.0}
_NORMALIZER_OPTIONS = ("normalization", *_NORMALIZER_NUMBERS)


@dataclasses.dataclass(frozen=True)
class Options:
  """Checked options, split into what is compiled in and what is not."""

  estimator: estimators.Estimator
  success_reward: float  # fills columns that the table lacks
  normalization: str | None  # None: the estimator takes no normaliser
  static: tuple[tuple[str, Any], ...]  # a change of one compiles again
  traced: dict[str, float]  # a change of one does not
  reads_actions: bool  # the estimator may look at the column `action`


def valid_options(estimator: estimators.Estimator) -> tuple[str, ...]:
  """Names of the options that `assign_credit` takes for an estimator."""
  keywords = _keywords(estimator)
  names = {"success_reward"} | set(keywords)
  normalizers = _normalizers(keywords)
  if normalizers:
    names = names - set(normalizers) | set(_NORMALIZER_OPTIONS)
  return tuple(sorted(names))


def read_options(
  estimator: str | estimators.Estimator, options: Mapping[str, Any]
) -> Options:
  """Checks the estimator and its options.

  What an option may be follows from its default: a boolean for a boolean, a
  whole number of at least 0 for an integer, a number for a number, in the range
  that its name has in the whole family.

  Args:
    estimator: name in `estimators.ESTIMATORS`, or a function like those.
    options: keywords; see `valid_options`.

  Returns:
    Options. Numbers are traced, so that a sweep over them compiles once;
    flags, whole numbers and everything else is compiled in.

  Raises:
    ValueError: the estimator is unknown, or an option is unknown to it or out
      of its range.
  """
  if isinstance(estimator, str):
    if estimator not in estimators.ESTIMATORS:
      raise ValueError(
        f"unknown estimator {estimator!r}: expected one of "
        f"{', '.join(estimators.ESTIMATORS)}, or a function"
      )
    name, estimator = estimator, estimators.ESTIMATORS[estimator]
  elif callable(estimator):
    name = getattr(estimator, "__name__", repr(estimator))
  else:
    raise ValueError(
      f"estimator must be a name or a function, got {type(estimator).__name__}"
    )
  valid = valid_options(estimator)
  if not _takes_any(estimator):
    for option in options:
      if option not in valid:
        raise ValueError(
          f"unknown option {option!r} of the estimator {name}: expected one "
          f"of {', '.join(valid)}"
        )
  keywords = _keywords(estimator)
  normalizers = _normalizers(keywords)
  # Defaults are filled in, so that naming one does not compile again.
  checked: dict[str, Any] = {
    option: value
    for option, value in keywords.items()
    if isinstance(value, (bool, int, float))
  }
  if normalizers:
    checked |= _normalizer_defaults(normalizers)
  checked |= {
    option: _check(option, value, keywords.get(option))
    for option, value in options.items()
  }
  success_reward = checked.get("success_reward", DEFAULT_SUCCESS_REWARD)
  if "success_reward" not in keywords and not _takes_any(estimator):
    checked.pop("success_reward", None)
  normalization = None
  if normalizers:
    normalization = checked.pop("normalization")
    if normalization == "mean":
      # Nothing is divided, so there is nothing for them to act on.
      for option in _NORMALIZER_NUMBERS:
        checked.pop(option, None)
  traced = {
    option: value
    for option, value in checked.items()
    if isinstance(value, float)
  }
  static = {
    option: value for option, value in checked.items() if option not in traced
  }
  for option, value in static.items():
    try:
      hash(value)
    except TypeError:
      raise ValueError(
        f"option {option!r} must be hashable, got {type(value).__name__}"
      ) from None
  return Options(
    estimator=estimator,
    success_reward=success_reward,
    normalization=normalization,
    static=tuple(sorted(static.items())),
    traced=dict(sorted(traced.items())),
    reads_actions=_reads_actions(estimator),
  )


def estimator_keywords(
  estimator: estimators.Estimator,
  normalization: str | None,
  options: Mapping[str, Any],
) -> dict[str, Any]:
  """Options as the estimator takes them, its normalisers put together."""
  keywords = dict(options)
  if normalization is None:
    return keywords
  given = {
    option: keywords.pop(option)
    for option in _NORMALIZER_NUMBERS
    if option in keywords
  }
  for name, own in _normalizers(_keywords(estimator)).items():
    if normalization == "mean":
      own = {
        option: value
        for option, value in own.items()
        if option not in _NORMALIZER_NUMBERS
      }
    keywords[name] = functools.partial(
      NORMALIZATIONS[normalization], **(own | given)
    )
  return keywords


# Reading a signature takes as long as the rest of a small table's checks.
@functools.lru_cache(maxsize=64)
def _keywords(estimator: estimators.Estimator) -> Mapping[str, Any]:
  """Parameters that are given by name, and their defaults; do not change it."""
  return {
    name: parameter.default
    for name, parameter in inspect.signature(estimator).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
    or (
      parameter.kind is parameter.POSITIONAL_OR_KEYWORD
      and parameter.default is not parameter.empty
    )
  }


@functools.lru_cache(maxsize=64)
def _takes_any(estimator: estimators.Estimator) -> bool:
  return any(
    parameter.kind is parameter.VAR_KEYWORD
    for parameter in inspect.signature(estimator).parameters.values()
  )


def _reads_actions(estimator: estimators.Estimator) -> bool:
  """Whether to give it the actions: to a user's own function always."""
  for name, function in estimators.ESTIMATORS.items():
    if estimator is function:
      return name in estimators.READS_ACTIONS
  return True


def _normalizers(keywords: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Keywords whose default is a known normaliser, and what it has fixed."""
  found = {}
  for name, default in keywords.items():
    function: Any = default
    own: dict[str, Any] = {}
    while isinstance(function, functools.partial):
      function, own = function.func, dict(function.keywords) | own
    if any(function is known for known in NORMALIZATIONS.values()):
      found[name] = own
  return found


def _normalizer_defaults(
  normalizers: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """Defaults that all normalisers of an estimator share."""
  defaults: dict[str, Any] = {"normalization": "mean_std"}
  for option, usual in _NORMALIZER_NUMBERS.items():
    values = {float(own.get(option, usual)) for own in normalizers.values()}
    if len(values) == 1:
      defaults[option] = values.pop()
  return defaults


def _between(low: float, high: float) -> Callable[[float], bool]:
  return lambda value: low < value < high


def _at_least(low: float) -> Callable[[float], bool]:
  return lambda value: low <= value < math.inf


_SHARE = (lambda value: 0.0 <= value <= 1.0, "a number from 0 to 1")
_POSITIVE = (_between(0.0, math.inf), "a number above 0")
_NOT_NEGATIVE = (_at_least(0.0), "a number of at least 0")
_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
  "omega": (_between(0.0, 1.0), "a number strictly between 0 and 1"),
  "discount": _SHARE,
  "potential_discount": _SHARE,
  "gae_lambda": _SHARE,
  "epsilon": _POSITIVE,
  "weight_epsilon": _POSITIVE,
  "floor": _POSITIVE,
  "power": (lambda value: value >= 1.0, "a number of at least 1, or inf"),
  "alpha": _NOT_NEGATIVE,
  "zero_below": _NOT_NEGATIVE,
  "resolution": _NOT_NEGATIVE,
  "invalid_penalty": _NOT_NEGATIVE,
  "unreachable_margin": _NOT_NEGATIVE,
}
_ANY_NUMBER = (math.isfinite, "a finite number")


def _check(option: str, value: Any, default: Any) -> Any:
  """The value as a float, bool or what it is, if it is in range."""
  if isinstance(value, np.generic):
    value = value.item()
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if option == "normalization":
    if not isinstance(value, str) or value not in NORMALIZATIONS:
      raise _bad_option(option, value, '"mean_std" or "mean"')
  elif option == "ddof":
    if not is_number or value not in (0, 1):
      raise _bad_option(option, value, "0 or 1")
    return float(value)
  elif isinstance(default, bool):
    if not isinstance(value, bool):
      raise _bad_option(option, value, "True or False")
  elif isinstance(default, int):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 0:
      raise _bad_option(option, value, "a whole number of at least 0")
  elif isinstance(default, float) or option in _RANGES or _is_common(option):
    inside, expected = _RANGES.get(option, _ANY_NUMBER)
    number = _as_float32(value) if is_number else math.nan
    if math.isnan(number) or not inside(number):
      raise _bad_option(option, value, expected)
    return float(value)
  return value


def _as_float32(value: Any) -> float:
  """What is computed with, where a bound may be reached by rounding.

  NaN for a finite number that float32 cannot hold.
  """
  try:
    with np.errstate(over="ignore"):
      number = float(np.float32(value))
  except OverflowError:
    return math.nan
  return number if math.isfinite(number) or value == number else math.nan


def _is_common(option: str) -> bool:
  """Options that go with an estimator whatever its own keywords are."""
  return option in ("success_reward", "step_weight", "episode_weight")


def _bad_option(option: str, value: Any, expected: str) -> ValueError:
  return ValueError(f"option {option!r}: expected {expected}, got {value!r}")
