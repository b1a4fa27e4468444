"""Rows of a step table, in the order of their rollouts, checked as a whole."""

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
  row_order,
  state_keys,
  table_columns,
)


@dataclasses.dataclass(frozen=True)
class Rows:
  """A table's n steps as R rollouts of G groups (tasks), each contiguous."""

  order: np.ndarray | None  # int64 [n], input row of each; None: unchanged
  rollout: np.ndarray  # int64 [n], 0..R-1, ascending
  last_row: np.ndarray  # int64 [R], the last row of each rollout
  group: np.ndarray  # int64 [R], 0..G-1, ascending
  source: np.ndarray  # uint64 [n], fingerprint of the observation
  final: np.ndarray  # uint64 [R], of the last next_observation; unset, where
  #   the rollout succeeded, for its end is the sink
  success: np.ndarray  # bool [n]
  action_valid: np.ndarray  # bool [n]
  cost: np.ndarray  # float32 [n], cost units
  reward: np.ndarray  # float32 [n], reward units
  episode_return: np.ndarray  # float32 [n], reward units


def read_rows(
  steps: Mapping[str, Any],
  *,
  success_reward: float,
  near: Mapping[str, Any] | None = None,
) -> Rows:
  """Reads, orders and checks a table of logged steps.

  A rollout is the rows of one (task, trajectory), in the order of t. Numbers
  may be missing in t, as long as the observations chain.

  Args:
    steps: mapping of column name to sequence.
    success_reward: episode_return of a success where the column is missing.
    near: options of `near_equal.merge_near_equal`, to make one state of
      near-equal texts; None merges equal observations alone.

  Returns:
    Rows.

  Raises:
    ValueError: something is wrong with a column, a row or a rollout; the
      message names it.
  """
  columns = table_columns.read_columns(steps)
  task = table_columns.codes("task", columns["task"])
  trajectory = table_columns.codes("trajectory", columns["trajectory"])
  time = table_columns.integers("t", columns["t"])
  # Trajectory ids are unique within a task only.
  key = task * (int(trajectory.max()) + 1) + trajectory
  order = row_order.rollout_order(key, task, time)
  if order is not None:
    key, task, time = key[order], task[order], time[order]
  rows = _InputRows(columns, order)
  starts = np.concatenate([[True], key[1:] != key[:-1]])
  repeated = ~starts[1:] & (time[1:] == time[:-1])
  if repeated.any():
    earlier = int(np.argmax(repeated))
    raise rollout_errors.same_step(rows.pair(earlier), rows.name(earlier))

  def of_rollout(name, values):
    differs = ~starts[1:] & (values[1:] != values[:-1])
    if differs.any():
      earlier = int(np.argmax(differs))
      raise rollout_errors.differs(name, rows.pair(earlier), rows.name(earlier))
    return values

  def ordered(values):
    return values if order is None else values[order]

  success = of_rollout(
    "success",
    ordered(table_columns.booleans("success", columns["success"])),
  )
  optional: dict[str, np.ndarray] = {}
  if "episode_return" in columns:
    optional["episode_return"] = of_rollout(
      "episode_return",
      ordered(
        table_columns.numbers("episode_return", columns["episode_return"])
      ),
    )
  if "reward" in columns:
    optional["reward"] = ordered(
      table_columns.numbers("reward", columns["reward"])
    )
  if "cost" in columns:
    optional["cost"] = ordered(table_columns.costs(columns["cost"]))
  if "action_valid" in columns:
    optional["action_valid"] = ordered(
      table_columns.booleans("action_valid", columns["action_valid"])
    )
  last_row = np.flatnonzero(np.append(starts[1:], True))
  source, final = _states(rows, starts, last_row, success[last_row])
  if near is not None:
    failed = ~success[last_row]
    source, final[failed] = _merge(
      rows, source, final[failed], last_row[failed], task, near
    )
  return make_rows(
    order,
    starts,
    task,
    success,
    source,
    final,
    optional,
    success_reward=success_reward,
  )


def make_rows(
  order: np.ndarray | None,
  starts: np.ndarray,
  task: np.ndarray,
  success: np.ndarray,
  source: np.ndarray,
  final: np.ndarray,
  optional: Mapping[str, np.ndarray],
  *,
  success_reward: float,
) -> Rows:
  """Rows from checked columns, with what optional columns stand for.

  Args:
    order: int64 [n], input row of each row; None where it is the same.
    starts: bool [n], the first row of each rollout.
    task: [n], ids of which only equality counts; each one's rows together.
    success: bool [n].
    source: uint64 [n].
    final: uint64 [R], as in Rows.
    optional: reward, episode_return, cost and action_valid, [n] each, where
      the table has them.
    success_reward: episode_return of a success where the column is missing.

  Returns:
    Rows.
  """
  last_row = np.flatnonzero(np.append(starts[1:], True))
  episode_return = optional.get("episode_return")
  if episode_return is None:
    episode_return = np.where(success, success_reward, 0.0)
  reward = optional.get("reward")
  if reward is None:
    reward = np.zeros(len(starts))
    reward[last_row] = episode_return[last_row]
  cost = optional.get("cost")
  action_valid = optional.get("action_valid")
  new_task = np.concatenate([[True], task[1:] != task[:-1]])[starts]
  return Rows(
    order=order,
    rollout=np.cumsum(starts) - 1,
    last_row=last_row,
    group=np.cumsum(new_task) - 1,
    source=source,
    final=final,
    success=success,
    action_valid=(
      np.ones(len(starts), bool) if action_valid is None else action_valid
    ),
    cost=np.ones(len(starts), np.float32)
    if cost is None
    else cost.astype(np.float32),
    reward=reward.astype(np.float32),
    episode_return=episode_return.astype(np.float32),
  )


class _InputRows:
  """The input's columns in rollout order, and how messages name a row."""

  def __init__(self, columns, order):
    self.columns = columns
    self.order = order

  def column(self, name):
    return table_columns.take(self.columns[name], self.order)

  def number(self, row):
    return row if self.order is None else int(self.order[row])

  def pair(self, earlier):
    return f"{self.number(earlier)} and {self.number(earlier + 1)}"

  def name(self, row):
    row = self.number(row)
    return rollout_errors.step_name(
      *(self.columns[name][row] for name in ("task", "trajectory", "t"))
    )


def _states(rows, starts, last_row, succeeded):
  """Fingerprints of all states, after checking that each rollout chains."""
  observation = rows.column("observation")
  following = rows.column("next_observation")
  texts = None
  if isinstance(observation, (list, tuple)):
    texts = state_keys.text_words(observation)
  source = texts
  if source is None:
    source = _words("observation", observation, rows, None)
  ends = last_row[~succeeded]
  final = np.zeros(len(last_row), np.uint64)
  inner = ~starts[1:]
  if isinstance(observation, arrow_columns.TextColumn) and isinstance(
    following, arrow_columns.TextColumn
  ):
    broken = following[:-1].differs(observation[1:])
    final[~succeeded] = _words(
      "next_observation", following.take(ends), rows, ends
    )
  elif texts is not None:
    # Comparing texts costs a fraction of hashing them.
    differs = map(
      operator.ne, following, itertools.islice(observation, 1, None)
    )
    try:
      broken = np.fromiter(differs, bool, len(observation) - 1)
    except ValueError:
      broken = np.asarray(
        [
          type(one) is not str or one != other
          for one, other in zip(following, observation[1:], strict=False)
        ],
        bool,
      )
    final[~succeeded] = _words(
      "next_observation",
      table_columns.take(following, ends),
      rows,
      ends,
    )
  else:
    # A success's last next_observation counts for nothing, whatever it is.
    needed = np.ones(len(source), bool)
    needed[last_row[succeeded]] = False
    target = np.zeros(len(source), np.uint64)
    chosen = np.flatnonzero(needed)
    target[chosen] = _words(
      "next_observation",
      table_columns.take(following, chosen),
      rows,
      chosen,
    )
    broken = target[:-1] != source[1:]
    final[~succeeded] = target[ends]
  broken &= inner
  if broken.any():
    earlier = int(np.argmax(broken))
    raise rollout_errors.unchained(
      rows.pair(earlier),
      rows.name(earlier),
      following[earlier],
      observation[earlier + 1],
    )
  return source, final


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


def _words(name, column, rows, chosen):
  """Fingerprints as uint64; errors name the column and the input's row."""
  try:
    lanes = state_keys.fingerprint_observations(column)
  except state_keys.ObservationTypeError as error:
    row = error.row if chosen is None else int(chosen[error.row])
    raise ValueError(
      f"column {name!r}, row {rows.number(row)}: {error.reason}"
    ) from None
  return state_keys.pack_lanes(lanes)
