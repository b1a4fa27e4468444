"""Rows of a log as records of 64 bytes: all that credit needs of a step.

An observation is its fingerprint, an id a fingerprint too, so that a group in
memory costs the same whatever its texts, and can be put on disk and be read
back. Values are checked on the way. An action takes 8 bytes more, for
estimators that read it.
"""

import itertools
import operator
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from graphgpo_jax.tables import arrow_columns, state_keys, table_columns
from graphgpo_jax.tables.logs.batch import Batch, Fault, FaultError

_FIELDS = [
  ("row", np.int64),
  ("task", np.uint64),
  ("trajectory", np.uint64),
  ("t", np.int64),
  ("source", np.uint64),
  ("target", np.uint64),
  ("cost", np.float32),
  ("reward", np.float32),
  ("episode_return", np.float32),
  ("success", np.bool_),
  ("action_valid", np.bool_),
  ("fault", np.uint8),
]
RECORD = np.dtype(_FIELDS, align=True)
_ACTION_RECORD = np.dtype([*_FIELDS, ("action", np.uint64)], align=True)

# Values of `fault`. A MARK is no row: it says of a rollout that the row whose
# number stands in `t`, which names no rollout, may be a step of it.
SOUND, BAD, MARK = 0, 1, 2


def record_type(optional: Collection[str]) -> np.dtype:
  """What records of a log are made of.

  Args:
    optional: optional columns that the log has and that are read.

  Returns:
    RECORD, with a field for the action if that is among them.
  """
  return _ACTION_RECORD if "action" in optional else RECORD


class RecordMaker:
  """Turns batches into records, one batch after the other.

  A row without a readable task or trajectory belongs to no rollout. Credit
  must not be computed as if it were not there: the rollouts of the readable
  rows before and after it are marked.
  """

  def __init__(
    self,
    optional: Collection[str],
    *,
    stop: bool,
    after_unreadable: bool = False,
    before: tuple[int, int] | None = None,
  ):
    """Starts before a batch.

    Args:
      optional: optional columns that the log has and that are read.
      stop: raise for the first row at fault.
      after_unreadable: whether the row before the first batch is unreadable.
      before: task and trajectory of the last readable row, as in its record;
        not needed where a task begins.
    """
    self._optional = optional
    self._stop = stop
    self.after_unreadable = after_unreadable
    self.before = before

  def make(self, batch: Batch) -> tuple[np.ndarray, list[Fault]]:
    """Records of a batch.

    Args:
      batch: n rows.

    Returns:
      Records [m] of `record_type`, rows in their order and marks between them,
      and the rows at fault, in their order.

    Raises:
      FaultError: a row is at fault and `stop` is set.
    """
    faults: dict[int, Fault] = {
      place: Fault(batch.first_row + place, reason)
      for place, reason in batch.faults.items()
    }

    def checked(name, check, dtype, found=None):
      found = faults if found is None else found
      column = batch.columns[name]
      return _checked(name, check, column, dtype, batch.first_row, found)

    records = np.zeros(batch.num_rows, record_type(self._optional))
    records["row"] = batch.first_row + np.arange(batch.num_rows)
    unreadable: dict[int, Fault] = {}
    for name in ("task", "trajectory"):
      records[name] = checked(name, _id_words, np.uint64, unreadable)
    faults = unreadable | faults
    records["t"] = checked("t", table_columns.integers, np.int64)
    records["success"] = checked("success", table_columns.booleans, bool)
    for name in ("reward", "episode_return"):
      if name in self._optional:
        records[name] = checked(name, table_columns.numbers, np.float32)
    if "cost" in self._optional:
      records["cost"] = checked("cost", _costs, np.float32)
    if "action_valid" in self._optional:
      records["action_valid"] = checked(
        "action_valid", table_columns.booleans, bool
      )
    if "action" in self._optional:
      records["action"] = checked("action", _state_words, np.uint64)
    records["source"] = checked("observation", _state_words, np.uint64)
    records["target"] = _targets(batch, records["source"], faults)
    if faults and self._stop:
      raise FaultError(faults[min(faults)])
    records["fault"][list(faults)] = BAD
    if unreadable or self.after_unreadable:
      records = self._mark(records, sorted(unreadable))
    else:
      self.before = _ids(records[-1])
    return records, [faults[place] for place in sorted(faults)]

  def _mark(self, records: np.ndarray, unreadable: list[int]) -> np.ndarray:
    """Records with unreadable ones replaced by marks."""
    lost = np.zeros(len(records), bool)
    lost[unreadable] = True
    readable = np.flatnonzero(~lost)
    marks, places = [], []

    def mark(place, row, ids):
      one = np.zeros((), records.dtype)
      one["row"], one["t"], one["fault"] = records["row"][place], row, MARK
      one["task"], one["trajectory"] = ids
      marks.append(one)
      places.append(place)

    for place in unreadable:
      earlier = readable[: np.searchsorted(readable, place)]
      ids = _ids(records[earlier[-1]]) if len(earlier) else self.before
      if ids is not None:
        mark(place, records["row"][place], ids)
    after_lost = np.concatenate([[self.after_unreadable], lost[:-1]])
    for place in np.flatnonzero(~lost & after_lost).tolist():
      mark(place, records["row"][place] - 1, _ids(records[place]))
    if len(readable):
      self.before = _ids(records[readable[-1]])
      self.after_unreadable = bool(lost[-1])
    else:
      self.after_unreadable = True
    if not marks:
      return records[readable]
    together = np.concatenate([np.stack(marks), records[readable]])
    # A stable sort leaves the marks of a row before it.
    order = np.argsort(np.concatenate([places, readable]), kind="stable")
    return together[order]


def task_words(column: table_columns.Column) -> np.ndarray:
  """Tasks as in records, uint64 [n]; 0 where a row names none."""
  return _checked("task", _id_words, column, np.uint64, 0, {})


def _ids(record: np.ndarray) -> tuple[int, int]:
  return int(record["task"]), int(record["trajectory"])


def _checked(
  name: str,
  check: Callable[[str, Any], np.ndarray],
  column: table_columns.Column,
  dtype: Any,
  first_row: int,
  faults: dict[int, Fault],
) -> np.ndarray:
  """Checked values of a column; 0 where a row is at fault, which is noted."""
  values = np.zeros(len(column), dtype)

  def by_halves(start, stop):
    try:
      values[start:stop] = check(name, column[start:stop])
    except ValueError as error:
      if stop - start > 1:
        middle = (start + stop) // 2
        by_halves(start, middle)
        by_halves(middle, stop)
      else:
        reason = getattr(error, "reason", str(error))
        faults.setdefault(start, Fault(first_row + start, reason, name))

  by_halves(0, len(column))
  return values


def _costs(name: str, column: table_columns.Column) -> np.ndarray:
  del name
  return table_columns.costs(column)


def _id_words(name: str, column: table_columns.Column) -> np.ndarray:
  """Fingerprints of ids: equal where `table_columns.codes` are."""
  codes = table_columns.codes(name, column)
  newest = np.maximum.accumulate(codes)
  first = np.flatnonzero(np.diff(newest, prepend=-1))
  return _state_words(name, [_plain_id(column[row]) for row in first])[codes]


def _plain_id(value: Any) -> Any:
  """One form of ids that are equal in Python, such as 1, 1.0 and True."""
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, bool):
    return int(value)
  if isinstance(value, float) and value.is_integer():
    return int(value)
  return value


def _state_words(name: str, column: table_columns.Column) -> np.ndarray:
  try:
    lanes = state_keys.fingerprint_observations(column)
  except state_keys.ObservationTypeError as error:
    raise table_columns.BadRowError(name, error.row, error.reason) from None
  return state_keys.pack_lanes(lanes)


def _targets(
  batch: Batch, source: np.ndarray, faults: dict[int, Fault]
) -> np.ndarray:
  """Fingerprints of next_observation.

  Most equal the next row's observation, and comparing texts costs a fraction
  of hashing them.
  """
  observation = batch.columns["observation"]
  following = batch.columns["next_observation"]
  known = np.zeros(len(source), bool)
  if isinstance(observation, arrow_columns.TextColumn) and isinstance(
    following, arrow_columns.TextColumn
  ):
    known[:-1] = ~following[:-1].differs(observation[1:])
  elif isinstance(observation, list) and set(map(type, observation)) == {str}:
    same = map(operator.eq, following, itertools.islice(observation, 1, None))
    known[:-1] = np.fromiter(same, bool, len(source) - 1)
  target = np.roll(source, -1)
  rest = np.flatnonzero(~known)
  missing: dict[int, Fault] = {}
  target[rest] = _checked(
    "next_observation",
    _state_words,
    table_columns.take(following, rest),
    np.uint64,
    batch.first_row,
    missing,
  )
  for place, fault in missing.items():
    row = int(rest[place])
    faults.setdefault(
      row, Fault(batch.first_row + row, fault.reason, fault.column)
    )
  return target
