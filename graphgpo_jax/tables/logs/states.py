"""Whether the state of an unfinished run is one that a run can go on from.

It comes from a file, so that its numbers, and the name of the file that is to
become the output, are not believed.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from graphgpo_jax.tables import assign
from graphgpo_jax.tables.logs import job as job_lib
from graphgpo_jax.tables.logs.batch import Position

# Files that may become the output.
_RESULTS = re.compile(r"credit\.(jsonl|parquet)")


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 <= value < 2**62


def _counts_of(kind: Any, *, some: bool) -> Callable[[Any], bool]:
  """Whether a mapping has a count for each field, or for none of them."""
  names = {field.name for field in dataclasses.fields(kind)}

  def check(value: Any) -> bool:
    if not isinstance(value, Mapping) or not all(
      map(_is_count, value.values())
    ):
      return False
    return value.keys() == names or (some and not value)

  return check


def _is_flag(value: Any) -> bool:
  return type(value) is bool


def _are_counts(value: Any) -> bool:
  return (
    isinstance(value, list)
    and 0 < len(value) <= job_lib.MOST_BUCKETS
    and all(map(_is_count, value))
  )


def _is_bucket_count(value: Any) -> bool:
  return _is_count(value) and 0 < value <= job_lib.MOST_BUCKETS


def _are_ids(value: Any) -> bool:
  """None, or task and trajectory as in a record."""
  return value is None or (
    isinstance(value, list)
    and len(value) == 2
    and all(type(one) is int and 0 <= one < 2**64 for one in value)
  )


def _is_result(value: Any) -> bool:
  return isinstance(value, str) and _RESULTS.fullmatch(value) is not None


_POSITION = _counts_of(Position, some=False)
_SUMMARY = _counts_of(assign.TableSummary, some=True)
_STAGES: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
  job_lib.STREAM: {
    "position": _POSITION,
    "after_unreadable": _is_flag,
    "output": _is_count,
    "faults": _is_count,
    "tasks": _is_count,
    "left_out": _is_count,
    "summary": _SUMMARY,
  },
  job_lib.SPLIT: {
    "position": _POSITION,
    "after_unreadable": _is_flag,
    "before": _are_ids,
    "sizes": _are_counts,
    "own_faults": _is_count,
  },
  job_lib.CREDIT: {
    "bucket": _is_count,
    "buckets": _is_bucket_count,
    "rows": _is_count,
    "done_rows": _is_count,
    "summary": _SUMMARY,
  },
  job_lib.JOIN: {
    "position": _POSITION,
    "output": _is_count,
    "buckets": _is_bucket_count,
    "rows": _is_count,
    "summary": _SUMMARY,
  },
  job_lib.PUBLISH: {
    "result": _is_result,
    "left_out": _is_count,
    "summary": _counts_of(assign.TableSummary, some=False),
  },
}


def check(state: Any, *, where: str) -> None:
  """Checks a state that was read from a manifest.

  Args:
    state: anything that JSON has.
    where: the folder, for the message.

  Raises:
    ValueError: it is no state of a run.
  """
  problem = _problem(state)
  if problem is not None:
    raise ValueError(
      f"{where}: expected the state of an unfinished run, but {problem}; "
      "--restart throws it away"
    )


def _problem(state: Any) -> str | None:
  if not isinstance(state, Mapping):
    return "it is no JSON object"
  stage = state.get("stage")
  if not isinstance(stage, str) or stage not in _STAGES:
    return f"its stage is {stage!r:.60}"
  for name, holds in {**_STAGES[stage], "stop": _is_flag}.items():
    if name not in state:
      return f"it lacks {name!r}"
    if not holds(state[name]):
      return f"its {name!r} is {state[name]!r:.60}"
  return None
