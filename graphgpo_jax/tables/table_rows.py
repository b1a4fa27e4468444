"""Rows of a step table, in the order of their rollouts, checked as a whole."""

import dataclasses
import itertools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import state_keys, table_columns

_SHOWN = 60


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


def read_rows(steps: Mapping[str, Any], *, success_reward: float) -> Rows:
  """Reads, orders and checks a table of logged steps.

  A rollout is the rows of one (task, trajectory), in the order of t. Numbers
  may be missing in t, as long as the observations chain.

  Args:
    steps: mapping of column name to sequence.
    success_reward: episode_return of a success where the column is missing.

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
  order = _order(key, task, time)
  if order is not None:
    key, task, time = key[order], task[order], time[order]
  rows = _InputRows(columns, order)
  starts = np.concatenate([[True], key[1:] != key[:-1]])
  repeated = ~starts[1:] & (time[1:] == time[:-1])
  if repeated.any():
    earlier = int(np.argmax(repeated))
    raise ValueError(
      f"rows {rows.pair(earlier)} are the same step: expected each (task, "
      f"trajectory, t) once, got {rows.name(earlier)} twice"
    )

  def of_rollout(name, values):
    differs = ~starts[1:] & (values[1:] != values[:-1])
    if differs.any():
      earlier = int(np.argmax(differs))
      raise ValueError(
        f"column {name!r} differs between rows {rows.pair(earlier)}: expected "
        f"one value per rollout, {rows.name(earlier)}"
      )
    return values

  def ordered(values):
    return values if order is None else values[order]

  success = of_rollout(
    "success",
    ordered(table_columns.booleans("success", columns["success"])),
  )
  rollout = np.cumsum(starts) - 1
  last_row = np.flatnonzero(np.append(starts[1:], True))
  if "episode_return" in columns:
    episode_return = of_rollout(
      "episode_return",
      ordered(
        table_columns.numbers("episode_return", columns["episode_return"])
      ),
    )
  else:
    episode_return = np.where(success, success_reward, 0.0)
  if "reward" in columns:
    reward = ordered(table_columns.numbers("reward", columns["reward"]))
  else:
    reward = np.zeros(len(key))
    reward[last_row] = episode_return[last_row]
  if "cost" in columns:
    cost = ordered(table_columns.costs(columns["cost"]))
  else:
    cost = np.ones(len(key))
  if "action_valid" in columns:
    action_valid = ordered(
      table_columns.booleans("action_valid", columns["action_valid"])
    )
  else:
    action_valid = np.ones(len(key), bool)
  source, final = _states(rows, starts, last_row, success[last_row])
  new_task = np.concatenate([[True], task[1:] != task[:-1]])[starts]
  return Rows(
    order=order,
    rollout=rollout,
    last_row=last_row,
    group=np.cumsum(new_task) - 1,
    source=source,
    final=final,
    success=success,
    action_valid=action_valid,
    cost=cost.astype(np.float32),
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
    task, trajectory, time = (
      self.columns[name][row] for name in ("task", "trajectory", "t")
    )
    return f"task {task!s}, trajectory {trajectory!s}, t {time!s}"


def _order(key, task, time):
  """Order of rows by task, rollout and t; None if they have it already."""
  runs = np.flatnonzero(key[1:] != key[:-1]) + 1
  heads = np.concatenate([[0], runs])
  # Ids are numbered as they appear, so a task that comes back steps down.
  in_order = (
    bool(np.all(task[1:] >= task[:-1]))
    and len(np.unique(key[heads])) == len(heads)
    and bool(np.all((time[1:] > time[:-1]) | (key[1:] != key[:-1])))
  )
  return None if in_order else np.lexsort((time, key))


def _states(rows, starts, last_row, succeeded):
  """Fingerprints of all states, after checking that each rollout chains."""
  observation = rows.column("observation")
  following = rows.column("next_observation")
  source = _words("observation", observation, rows, None)
  ends = last_row[~succeeded]
  final = np.zeros(len(last_row), np.uint64)
  inner = ~starts[1:]
  if _all_text(observation):
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
    raise ValueError(
      f"rows {rows.pair(earlier)} do not chain ({rows.name(earlier)}): "
      "expected next_observation of the first to equal observation of the "
      f"second, got {_show(following[earlier])} and "
      f"{_show(observation[earlier + 1])}"
    )
  return source, final


def _all_text(column):
  return not isinstance(column, np.ndarray) and set(map(type, column)) == {str}


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


def _show(observation):
  text = repr(observation)
  return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
