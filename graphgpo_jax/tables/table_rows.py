"""Rows of a step table, in the order of their rollouts, checked as a whole."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import (
  rollout_errors,
  row_order,
  table_columns,
  table_states,
)


@dataclasses.dataclass(frozen=True)
class Rows:
  """A table's n steps as R rollouts of G groups (tasks), each contiguous."""

  order: np.ndarray | None  # int64 [n], input row of each; None: unchanged
  rollout: np.ndarray  # int64 [n], 0..R-1, ascending
  last_row: np.ndarray  # int64 [R], the last row of each rollout
  group: np.ndarray  # int64 [R], 0..G-1, ascending
  source: np.ndarray  # uint64 [n], word of the observation: equal words, equal
  #   states; a fingerprint or any other number
  final: np.ndarray  # uint64 [R], of the last next_observation; unset, where
  #   the rollout succeeded, for its end is the sink
  success: np.ndarray  # bool [n]
  action_valid: np.ndarray  # bool [n]
  cost: np.ndarray  # float32 [n], cost units
  reward: np.ndarray  # float32 [n], reward units
  episode_return: np.ndarray  # float32 [n], reward units
  action: np.ndarray | None = None  # uint64 [n], fingerprint; None: the table
  #   has none, or nobody asked
  numbered: bool = False  # the words are node numbers 1, 2, ... of each group


def read_rows(
  steps: Mapping[str, Any],
  *,
  success_reward: float,
  near: Mapping[str, Any] | None = None,
  with_actions: bool = False,
) -> Rows:
  """Reads, orders and checks a table of logged steps.

  A rollout is the rows of one (task, trajectory), in the order of t. Numbers
  may be missing in t, as long as the observations chain.

  Args:
    steps: mapping of column name to sequence.
    success_reward: episode_return of a success where the column is missing.
    near: options of `near_equal.merge_near_equal`, to make one state of
      near-equal texts; None merges equal observations alone.
    with_actions: read the column `action`, if there is one.

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
  rows = table_states.InputRows(columns, order)
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
  if with_actions and "action" in columns:
    optional["action"] = table_states.fingerprints(
      "action", rows.column("action"), rows, None
    )
  states = table_states.read_states(rows, starts, task, success, near=near)
  return make_rows(
    order,
    starts,
    task,
    success,
    states.source,
    states.final,
    optional,
    success_reward=success_reward,
    numbered=states.numbered,
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
  numbered: bool = False,
) -> Rows:
  """Rows from checked columns, with what optional columns stand for.

  Args:
    order: int64 [n], input row of each row; None where it is the same.
    starts: bool [n], the first row of each rollout.
    task: [n], ids of which only equality counts; each one's rows together.
    success: bool [n].
    source: uint64 [n].
    final: uint64 [R], as in Rows.
    optional: reward, episode_return, cost, action_valid and action (uint64
      fingerprints), [n] each, where the table has them.
    success_reward: episode_return of a success where the column is missing.
    numbered: as in Rows.

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
    action=optional.get("action"),
    numbered=numbered,
  )
