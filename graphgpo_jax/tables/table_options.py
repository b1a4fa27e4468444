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
# What `normalize`, a function, takes as seen from a table's options.
_NORMALIZER_DEFAULTS: Mapping[str, Any] = {
  "normalization": "mean_std",
  "epsilon": 1e-6,
  "ddof": 1.0,
}


@dataclasses.dataclass(frozen=True)
class Options:
  """Checked options, split into what is compiled in and what is not."""

  estimator: estimators.Estimator
  success_reward: float  # fills columns that the table lacks
  normalization: str | None  # None: the estimator takes no normaliser
  static: tuple[tuple[str, Any], ...]  # a change of one compiles again
  traced: dict[str, float]  # a change of one does not


def valid_options(estimator: estimators.Estimator) -> tuple[str, ...]:
  """Names of the options that `assign_credit` takes for an estimator."""
  names = {"success_reward"} | set(_keywords(estimator))
  if "normalize" in names:
    names = names - {"normalize"} | set(_NORMALIZER_DEFAULTS)
  return tuple(sorted(names))


def read_options(
  estimator: str | estimators.Estimator, options: Mapping[str, Any]
) -> Options:
  """Checks the estimator and its options.

  Args:
    estimator: name in `estimators.ESTIMATORS`, or a function like those.
    options: keywords; see `valid_options`.

  Returns:
    Options. Numbers are traced, so that a sweep over them compiles once;
    flags and everything else is compiled in.

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
  # Defaults are filled in, so that naming one does not compile again.
  checked: dict[str, Any] = {
    option: value
    for option, value in keywords.items()
    if isinstance(value, (bool, float))
  }
  if "normalize" in keywords:
    checked.update(_NORMALIZER_DEFAULTS)
  checked |= {
    option: _check(option, value) for option, value in options.items()
  }
  success_reward = checked.get("success_reward", DEFAULT_SUCCESS_REWARD)
  if "success_reward" not in keywords and not _takes_any(estimator):
    checked.pop("success_reward", None)
  normalization = None
  if "normalize" in keywords:
    normalization = checked.pop("normalization")
    if normalization == "mean":
      # Nothing is divided, so there is nothing for them to act on.
      del checked["epsilon"], checked["ddof"]
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
  )


def estimator_keywords(
  normalization: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
  """Options as the estimator takes them, the normaliser put together."""
  keywords = dict(options)
  if normalization is not None:
    keywords["normalize"] = functools.partial(
      NORMALIZATIONS[normalization],
      **{
        option: keywords.pop(option)
        for option in _NORMALIZER_DEFAULTS
        if option in keywords
      },
    )
  return keywords


def _keywords(estimator: estimators.Estimator) -> dict[str, Any]:
  """Keyword-only parameters and their defaults."""
  return {
    name: parameter.default
    for name, parameter in inspect.signature(estimator).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
  }


def _takes_any(estimator: estimators.Estimator) -> bool:
  return any(
    parameter.kind is parameter.VAR_KEYWORD
    for parameter in inspect.signature(estimator).parameters.values()
  )


def _between(low: float, high: float) -> Callable[[float], bool]:
  return lambda value: low < value < high


_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
  "omega": (_between(0.0, 1.0), "a number strictly between 0 and 1"),
  "discount": (lambda value: 0.0 <= value <= 1.0, "a number from 0 to 1"),
  "epsilon": (_between(0.0, math.inf), "a number above 0"),
  "invalid_penalty": (lambda value: value >= 0.0, "a number of at least 0"),
  "unreachable_margin": (lambda value: value >= 0.0, "a number of at least 0"),
  "success_reward": (math.isfinite, "a finite number"),
  "step_weight": (math.isfinite, "a finite number"),
  "episode_weight": (math.isfinite, "a finite number"),
}
_FLAGS = (
  "normalize_distance",
  "penalty_only_with_success",
  "add_step_cost",
  "scale_free",
  "distinct_edges",
  "per_rollout",
)


def _check(option: str, value: Any) -> Any:
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
  elif option in _FLAGS:
    if not isinstance(value, bool):
      raise _bad_option(option, value, "True or False")
  elif option in _RANGES:
    inside, expected = _RANGES[option]
    # Computed with as float32, where a bound may be reached by rounding.
    with np.errstate(over="ignore"):
      number = float(np.float32(value)) if is_number else math.nan
    if not (math.isfinite(number) and inside(number)):
      raise _bad_option(option, value, expected)
    return float(value)
  return value


def _bad_option(option: str, value: Any, expected: str) -> ValueError:
  return ValueError(f"option {option!r}: expected {expected}, got {value!r}")
