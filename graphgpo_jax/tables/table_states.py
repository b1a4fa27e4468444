"""States of a table's rollouts: a word for each, equal where they are.

Every rollout must chain: a step leads to the state that the next one starts
from. So the observations tell every state but the last of a failed rollout.
"""

import dataclasses
import itertools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import (
  arrow_columns,
  near_equal,
  rollout_errors,
  state_keys,
  table_columns,
  text_nodes,
)


@dataclasses.dataclass(frozen=True)
class States:
  """Words of n steps' observations and of R rollouts' ends."""

  source: np.ndarray  # uint64 [n], of the observation
  final: np.ndarray  # uint64 [R], of the last next_observation; unset, where
  #   the rollout succeeded, for its end is the sink
  numbered: bool  # the words are node numbers 1, 2, ... of each task


class InputRows:
  """The input's columns in rollout order, and how messages name a row."""

  def __init__(
    self,
    columns: Mapping[str, table_columns.Column],
    order: np.ndarray | None,
  ):
    """Takes columns of n rows and their order, int64 [n] or None."""
    self.columns = columns
    self.order = order

  def column(self, name: str) -> table_columns.Column:
    """The column, its rows in rollout order."""
    return table_columns.take(self.columns[name], self.order)

  def number(self, row: int) -> int:
    """The input's number of a row."""
    return row if self.order is None else int(self.order[row])

  def pair(self, earlier: int) -> str:
    """The input's numbers of a row and the next, for messages."""
    return f"{self.number(earlier)} and {self.number(earlier + 1)}"

  def name(self, row: int) -> str:
    """What the input calls the step of a row, for messages."""
    row = self.number(row)
    return rollout_errors.step_name(
      *(self.columns[name][row] for name in ("task", "trajectory", "t"))
    )


def read_states(
  rows: InputRows,
  starts: np.ndarray,
  task: np.ndarray,
  success: np.ndarray,
  *,
  near: Mapping[str, Any] | None = None,
) -> States:
  """Words of all states, after checking that each rollout chains.

  Args:
    rows: the input.
    starts: bool [n], the first row of each rollout.
    task: int64 [n], each task's rows together.
    success: bool [n].
    near: options of `near_equal.merge_near_equal`, to make one state of
      near-equal texts; None merges equal observations alone.

  Returns:
    States. Texts are numbered; everything else, and texts that tasks share or
    that are merged, has fingerprints or numbers with gaps.

  Raises:
    ValueError: a rollout does not chain, or an observation is of an unsupported
      type; the message names the row.
  """
  observation = rows.column("observation")
  following = rows.column("next_observation")
  last_row = np.flatnonzero(np.append(starts[1:], True))
  failed = ~success[last_row]
  ends = last_row[failed]
  final = np.zeros(len(last_row), np.uint64)
  numbered = False
  texts = None
  if near is None and isinstance(observation, (list, tuple)):
    finals = table_columns.take(following, ends)
    if isinstance(finals, (list, tuple)):
      texts = text_nodes.number_texts(observation, finals)
  if texts is not None:
    _check_chain(rows, starts, _differ(following, observation))
    heads = np.flatnonzero(np.concatenate([[True], task[1:] != task[:-1]]))
    group = np.searchsorted(heads, ends, side="right") - 1
    nodes = text_nodes.group_nodes(*texts, heads, group)
    numbered = nodes is not None
    source, final[failed] = texts if nodes is None else nodes
    return States(source.view(np.uint64), final, numbered)
  source, final[failed] = _fingerprints(
    rows, starts, observation, following, ends, success[last_row]
  )
  if near is not None:
    source, final[failed] = _merge(
      rows, source, final[failed], ends, task, near
    )
  return States(source, final, numbered)


def _fingerprints(rows, starts, observation, following, ends, succeeded):
  """Fingerprints of the steps' sources and of the failed rollouts' ends."""
  texts = None
  if isinstance(observation, (list, tuple)):
    texts = state_keys.text_words(observation)
  source = texts
  if source is None:
    source = fingerprints("observation", observation, rows, None)
  final = None
  if isinstance(observation, arrow_columns.TextColumn) and isinstance(
    following, arrow_columns.TextColumn
  ):
    broken = following[:-1].differs(observation[1:])
  elif texts is not None:
    broken = _differ(following, observation)
  else:
    # A success's last next_observation counts for nothing, whatever it is.
    needed = np.ones(len(source), bool)
    last_row = np.flatnonzero(np.append(starts[1:], True))
    needed[last_row[succeeded]] = False
    target = np.zeros(len(source), np.uint64)
    chosen = np.flatnonzero(needed)
    target[chosen] = fingerprints(
      "next_observation",
      table_columns.take(following, chosen),
      rows,
      chosen,
    )
    broken = target[:-1] != source[1:]
    final = target[ends]
  if final is None:
    final = fingerprints(
      "next_observation", table_columns.take(following, ends), rows, ends
    )
  _check_chain(rows, starts, broken)
  return source, final


def _differ(following, observation):
  """Where a text is not the next row's: bool [n - 1]."""
  # Comparing texts costs a fraction of hashing them.
  differs = map(operator.ne, following, itertools.islice(observation, 1, None))
  try:
    return np.fromiter(differs, bool, len(observation) - 1)
  except ValueError:
    # An array does not compare to one boolean.
    return np.asarray(
      [
        type(one) is not str or one != other
        for one, other in zip(following, observation[1:], strict=False)
      ],
      bool,
    )


def _check_chain(rows, starts, broken):
  """Refuses rollouts in which a step does not lead to the next one's state."""
  broken &= ~starts[1:]
  if not broken.any():
    return
  earlier = int(np.argmax(broken))
  raise rollout_errors.unchained(
    rows.pair(earlier),
    rows.name(earlier),
    rows.column("next_observation")[earlier],
    rows.column("observation")[earlier + 1],
  )


def _merge(rows, source, final, ends, task, near):
  """Fingerprints of states with near-equal texts made one."""
  try:
    return near_equal.merge_states(
      source,
      final,
      rows.column("observation"),
      rows.column("next_observation"),
      ends,
      task,
      **near,
    )
  except near_equal.NotTextError as error:
    raise ValueError(
      f"column {error.column!r}, row {rows.number(error.row)}: {error.reason}"
    ) from None


def fingerprints(
  name: str,
  column: table_columns.Column,
  rows: InputRows,
  chosen: np.ndarray | None,
) -> np.ndarray:
  """Fingerprints of values, both lanes in one word.

  Args:
    name: the column's name, for messages.
    column: n values of any type that an observation may have.
    rows: the input.
    chosen: int64 [n], rows that the values are of; None: of all.

  Returns:
    uint64 [n].

  Raises:
    ValueError: a value is of an unsupported type; the message names the column
      and the input's row.
  """
  try:
    lanes = state_keys.fingerprint_observations(column)
  except state_keys.ObservationTypeError as error:
    row = error.row if chosen is None else int(chosen[error.row])
    raise ValueError(
      f"column {name!r}, row {rows.number(row)}: {error.reason}"
    ) from None
  return state_keys.pack_lanes(lanes)
