"""Near-equal states of records, whose texts are read from the log again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import near_equal
from graphgpo_jax.tables.logs.batch import Position, Source


def merge_records(
  records: np.ndarray,
  task: np.ndarray,
  ends: np.ndarray,
  source: Source,
  start: Position,
  near: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
  """Fingerprints of states with near-equal texts made one.

  Records hold no texts: one text of each fingerprint is read again, from the
  rows of the log that the records are of, so that memory holds the distinct
  texts of these tasks alone.

  Args:
    records: RECORD [n], steps of whole rollouts in their order.
    task: int64 [n], number of each one's task.
    ends: int64 [R], the last record of each rollout.
    source: the log.
    start: of the first of these rows, or of one before.
    near: options of `near_equal.merge_near_equal`.

  Returns:
    uint64 [n], the source of each record, and uint64 [R], the target of each
    rollout's last one, merged; unset where the rollout succeeded.

  Raises:
    near_equal.NotTextError: with the column and the row of the log.
  """
  failed = ends[~records["success"][ends]]
  words = np.concatenate([records["source"], records["target"][failed]])
  rows = np.concatenate([records["row"], records["row"][failed]])
  follows = np.arange(len(words)) >= len(records)

  def texts_of(places):
    return _read(source, start, rows[places], follows[places])

  try:
    merged = near_equal.merge_words(
      words, texts_of, np.concatenate([task, task[failed]]), **near
    )
  except near_equal.NotTextError as error:
    error.column = _COLUMNS[bool(follows[error.row])]
    error.row = int(rows[error.row])
    raise
  final = np.zeros(len(ends), np.uint64)
  final[~records["success"][ends]] = merged[len(records) :]
  return merged[: len(records)], final


_COLUMNS = {False: "observation", True: "next_observation"}


def _read(
  source: Source, start: Position, rows: np.ndarray, follows: np.ndarray
) -> list[Any]:
  """Values of rows of the log, in the order in which they are asked for."""
  order = np.argsort(rows, kind="stable")
  values: list[Any] = [None] * len(rows)
  done = 0
  if source.lines:
    first = start
  else:
    first = Position(int(rows[order[0]]) if len(order) else 0)
  for batch in source.batches(first):
    stop = batch.first_row + batch.num_rows
    while done < len(order) and rows[order[done]] < stop:
      place = order[done]
      column = batch.columns[_COLUMNS[bool(follows[place])]]
      values[place] = column[int(rows[place]) - batch.first_row]
      done += 1
    if done == len(order):
      break
  return values
