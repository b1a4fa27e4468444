"""Credit for a table of logged steps, whatever framework logged them.

Everything of a row's own runs on the host in NumPy; graphs, distances and
advantages run on the device, a compiled function for each of a few shapes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import table_device, table_options, table_rows

_PADDING = np.uint64(2**64 - 1)
# Estimators that leave the single step out of it.
_EPISODE_ONLY = (estimators.grpo, estimators.rloo)


@dataclasses.dataclass(frozen=True)
class TableSummary:
  """What a table holds."""

  steps: int
  rollouts: int
  tasks: int
  successes: int  # rollouts that succeeded
  states: int  # distinct states, each task's counted by themselves
  reachable_states: int  # of these, with a way to SUCCESS in their task's graph


def assign_credit(
  steps: Mapping[str, Any],
  estimator: str | estimators.Estimator = "graphgpo",
  **options,
) -> dict[str, np.ndarray]:
  """Distance, return and advantage of every step of a table.

  Columns of `steps`, one entry per step, rows in any order:

    task             id of the group whose rollouts are compared
    trajectory       id of the rollout, unique within its task
    t                integer; orders a rollout's steps, numbers may be missing
    observation      the state before the step; see `state_keys` for types
    next_observation the state after it; must be the next row's observation.
                     That of a success's last step is replaced by SUCCESS
    success          whether the rollout succeeded, the same on all its steps
    episode_return   optional; success_reward for a success, else 0
    reward           optional; episode_return on the last step, else 0
    action_valid     optional; True
    cost             optional; 1, in cost units, at least 0

  Other columns are left alone.

  Args:
    steps: mapping of column name to sequence (lists, arrays, data frame).
    estimator: "graphgpo", "gigpo", "grpo" or "rloo", or a function with the
      signature of those in `credit.estimators`.
    **options: keywords of the estimator, and in place of its `normalize`:
      normalization ("mean_std" or "mean"), epsilon and ddof. `success_reward`
      (10) goes with every estimator: it fills the columns above. Changing a
      number does not compile again.

  Returns:
    dict of float32 [n] in the input's row order: distance and next_distance
    (cost units), graph_return and graph_advantage for graphgpo, step_return
    and step_advantage for others that look at single steps,
    episode_advantage and advantage.

  Raises:
    ValueError: a column, row, rollout or option is wrong; the message names
      it, rows counted from 0, and says what was expected.
  """
  return credit_table(steps, estimator, **options)[0]


def credit_table(
  steps: Mapping[str, Any],
  estimator: str | estimators.Estimator = "graphgpo",
  **options,
) -> tuple[dict[str, np.ndarray], TableSummary]:
  """`assign_credit`, and a summary of the table.

  Args:
    steps: as for `assign_credit`.
    estimator: as for `assign_credit`.
    **options: as for `assign_credit`.

  Returns:
    The credit columns, and a TableSummary.

  Raises:
    ValueError: as `assign_credit`.
  """
  checked = table_options.read_options(estimator, options)
  rows = table_rows.read_rows(steps, success_reward=checked.success_reward)
  credit, states, reachable = _credit_rows(rows, checked)
  summary = TableSummary(
    steps=len(rows.source),
    rollouts=len(rows.group),
    tasks=int(rows.group[-1]) + 1,
    successes=int(rows.success[rows.last_row].sum()),
    states=states,
    reachable_states=reachable,
  )
  names = {name: name for name in table_device.CREDIT_FIELDS}
  if checked.estimator is estimators.graphgpo:
    names["step_return"] = "graph_return"
    names["step_advantage"] = "graph_advantage"
  elif checked.estimator in _EPISODE_ONLY:
    del names["step_return"], names["step_advantage"]
  return {name: credit[field] for field, name in names.items()}, summary


def _credit_rows(rows, options):
  """Credit columns in the input's row order, and counts of states."""
  place, batches = _layout(rows)
  total = batches[-1].stop
  words = np.full(total, _PADDING)
  words[place] = rows.source
  ends = place[rows.last_row] + 1
  failed = ~rows.success[rows.last_row]
  words[ends[failed]] = rows.final[failed]
  flags = np.zeros(total, np.uint8)
  last = np.zeros(len(place), bool)
  last[rows.last_row] = True
  flags[place] = (
    table_device.STEP
    + table_device.SUCCESS * rows.success
    + table_device.LAST * last
    + table_device.VALID * rows.action_valid
  )
  numbers = np.zeros((3, total), np.float32)
  for values, given in zip(
    numbers, (rows.cost, rows.reward, rows.episode_return), strict=True
  ):
    values[place] = given

  results = []
  for batch in batches:
    part = slice(batch.start, batch.stop)
    used = batch.num_groups * batch.size
    nodes = np.zeros(batch.stop - batch.start, np.int32)
    nodes[:used] = table_device.node_ids(
      words[part][:used].reshape(-1, batch.size)
    ).ravel()
    # Not waited for: the next batch is numbered while this one runs.
    results.append(
      table_device.credit_groups(
        *(
          array.reshape(-1, batch.size)
          for array in (nodes, flags[part], *numbers[:, part])
        ),
        num_groups=batch.num_groups,
        options=options,
      )
    )
  results = jax.device_get(results)
  if rows.order is not None:
    unsorted = np.empty_like(place)
    unsorted[rows.order] = place
    place = unsorted
  counts = {
    name: sum(
      int(result[name][: batch.num_groups].sum())
      for result, batch in zip(results, batches, strict=True)
    )
    for name in ("states", "reachable")
  }
  credit = {
    name: np.concatenate([result[name].ravel() for result in results])[place]
    for name in table_device.CREDIT_FIELDS
  }
  return credit, counts["states"], counts["reachable"]


@dataclasses.dataclass(frozen=True)
class _Batch:
  """Groups that one call computes: slots start..stop, `size` for each."""

  start: int
  stop: int
  size: int
  num_groups: int


def _layout(rows):
  """Slot of each row, and the batches that the slots are cut into."""
  num_groups = int(rows.group[-1]) + 1
  num_steps = np.diff(rows.last_row, prepend=-1)
  group_slots = np.bincount(
    rows.group, weights=num_steps + 1, minlength=num_groups
  ).astype(np.int64)
  classes = table_device.slot_class(group_slots)
  base = np.empty(num_groups, np.int64)
  batches = []
  stop = 0
  for size in np.unique(classes).tolist():
    members = np.flatnonzero(classes == size)
    base[members] = stop + size * np.arange(len(members))
    left = len(members)
    for batch_size in table_device.batch_sizes(len(members), size):
      start, stop = stop, stop + batch_size * size
      batches.append(_Batch(start, stop, size, min(left, batch_size)))
      left -= batch_size
  first_slot = np.cumsum(group_slots) - group_slots
  rollout_shift = np.arange(len(rows.group)) + (base - first_slot)[rows.group]
  place = np.arange(len(rows.rollout)) + rollout_shift[rows.rollout]
  return place, batches
