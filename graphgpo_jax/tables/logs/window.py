"""Credit of records that hold whole tasks, and rollouts that are no rollouts.

What a rollout must be is what `table_rows` says of tables in memory.
"""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from graphgpo_jax.tables import (
  assign,
  row_order,
  table_columns,
  table_options,
  table_rows,
)
from graphgpo_jax.tables.logs import records as records_lib
from graphgpo_jax.tables.logs.batch import Fault

NO_STEPS = assign.TableSummary(
  steps=0, rollouts=0, tasks=0, successes=0, states=0, reachable_states=0
)


@dataclasses.dataclass(frozen=True)
class Window:
  """Credit of some tasks."""

  rows: np.ndarray  # int64 [k], ascending: rows that have credit
  credit: dict[str, np.ndarray]  # float32 [k] each
  summary: assign.TableSummary
  faults: list[Fault]  # rows taken out with their rollout, ascending


# From records in the order of their rollouts, their tasks' numbers and the
# last record of each rollout to `source` and `final` of table_rows.Rows.
Merge = Callable[
  [np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]


class RolloutError(ValueError):
  """Two rows cannot be steps of one rollout."""

  def __init__(self, kind: str, earlier: int, later: int):
    super().__init__(kind)
    self.kind = kind
    self.earlier = earlier
    self.later = later


_REASONS = {
  "t": "rows {} and {} of its rollout are the same step",
  "success": "'success' differs between rows {} and {} of its rollout",
  "episode_return": (
    "'episode_return' differs between rows {} and {} of its rollout"
  ),
  "chain": "rows {} and {} of its rollout do not chain",
}


def credit_window(
  records: np.ndarray,
  optional: Collection[str],
  options: table_options.Options,
  *,
  stop: bool,
  merge: Merge | None = None,
) -> Window:
  """Credit of whole tasks.

  Args:
    records: RECORD [m], in the order of their rows.
    optional: optional columns that the log has.
    options: of the estimator.
    stop: raise for the first rollout that is none.
    merge: makes one state of several; None leaves all as they are.

  Returns:
    Window.

  Raises:
    RolloutError: two rows of a rollout do not fit and `stop` is set.
  """
  records, faults = _without_bad(records)
  while len(records):
    order, starts, task = _ordered(records)
    ordered = records if order is None else records[order]
    unfit = _unfit(ordered, starts, optional)
    if unfit is None:
      break
    kind, rows = unfit
    if stop:
      raise RolloutError(kind, *ordered["row"][rows[0] : rows[0] + 2].tolist())
    out = _rollouts_of(starts, rows)
    faults += [
      Fault(int(row), _REASONS[kind].format(*pair))
      for row, pair in zip(
        ordered["row"][out.rows], out.pairs(ordered["row"]), strict=True
      )
    ]
    kept = np.ones(len(records), bool)
    kept[out.rows if order is None else order[out.rows]] = False
    records = records[kept]
  faults.sort(key=lambda fault: fault.row)
  if not len(records):
    empty = np.zeros(0, np.float32)
    names = assign.credit_columns(options.estimator)
    return Window(records["row"], dict.fromkeys(names, empty), NO_STEPS, faults)
  ends = np.flatnonzero(np.append(starts[1:], True))
  source, final = ordered["source"], ordered["target"][ends]
  if merge is not None:
    source, final = merge(ordered, task, ends)
  rows = table_rows.make_rows(
    order,
    starts,
    task,
    ordered["success"],
    source,
    final,
    {name: ordered[name] for name in optional},
    success_reward=options.success_reward,
  )
  credit, summary = assign.credit_rows(rows, options)
  return Window(records["row"], credit, summary, faults)


def _keys(records):
  """Codes of the tasks, and of the (task, trajectory) pairs."""
  task = table_columns.codes("task", records["task"])
  trajectory = table_columns.codes("trajectory", records["trajectory"])
  return task, task * (int(trajectory.max()) + 1) + trajectory


def _without_bad(records):
  """Rows of rollouts without a bad row or a mark, and faults of the others."""
  bad = np.flatnonzero(records["fault"])
  if not len(bad):
    return records, []
  _, key = _keys(records)
  # Of several causes the first is told.
  causes, first = np.unique(key[bad], return_index=True)
  cause = records[bad[first]]
  place = np.minimum(np.searchsorted(causes, key), len(causes) - 1)
  out = causes[place] == key
  taken = np.flatnonzero(out & (records["fault"] == records_lib.SOUND))
  faults = []
  for row, why in zip(
    records["row"][taken].tolist(), cause[place[taken]], strict=True
  ):
    if why["fault"] == records_lib.MARK:
      reason = f"row {why['t']}, which names no rollout, may be a step of its"
    else:
      reason = f"row {why['row']} of its rollout is at fault"
    faults.append(Fault(row, reason))
  return records[~out], faults


def _ordered(records):
  """Order by rollout (None: unchanged), starts of rollouts, codes of tasks."""
  task, key = _keys(records)
  order = row_order.rollout_order(key, task, records["t"])
  if order is not None:
    key, task = key[order], task[order]
  return order, np.concatenate([[True], key[1:] != key[:-1]]), task


def _unfit(ordered, starts, optional):
  """What is wrong with rollouts, and the rows that do not fit the next."""
  inner = ~starts[1:]

  def differs(name):
    return ordered[name][1:] != ordered[name][:-1]

  checks = [("t", ~differs("t")), ("success", differs("success"))]
  if "episode_return" in optional:
    checks.append(("episode_return", differs("episode_return")))
  checks.append(("chain", ordered["target"][:-1] != ordered["source"][1:]))
  for kind, found in checks:
    found &= inner
    if found.any():
      return kind, np.flatnonzero(found)
  return None


@dataclasses.dataclass(frozen=True)
class _Rollouts:
  """All rows of some rollouts, and for each the row that does not fit."""

  rows: np.ndarray
  unfit: np.ndarray

  def pairs(self, row):
    return zip(
      row[self.unfit].tolist(), row[self.unfit + 1].tolist(), strict=True
    )


def _rollouts_of(starts, unfit):
  rollout = np.cumsum(starts) - 1
  bad, first = np.unique(rollout[unfit], return_index=True)
  place = np.minimum(np.searchsorted(bad, rollout), len(bad) - 1)
  rows = np.flatnonzero(bad[place] == rollout)
  return _Rollouts(rows, unfit[first[place[rows]]])
