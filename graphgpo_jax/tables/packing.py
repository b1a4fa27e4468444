"""Rows of a table in padded batches: there and back again.

Each group gets slots in an array of its size class, see `table_device`.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from graphgpo_jax.tables import table_device, table_options, table_rows

_PADDING = table_device.PADDING


@dataclasses.dataclass(frozen=True)
class TableSummary:
  """What a table holds."""

  steps: int
  rollouts: int
  tasks: int
  successes: int  # rollouts that succeeded
  states: int  # distinct states, each task's counted by themselves
  reachable_states: int  # of these, with a way to SUCCESS in their task's graph


@dataclasses.dataclass(frozen=True)
class Batch:
  """Groups that one call computes: slots start..stop, `size` for each."""

  start: int
  stop: int
  size: int
  num_groups: int


@dataclasses.dataclass(frozen=True)
class Started:
  """Credit that the device is computing."""

  results: list[Any]  # device arrays of each batch, see `credit_groups`
  batches: list[Batch]
  place: np.ndarray  # int64 [n], slot of each row
  rows: table_rows.Rows


def start(rows: table_rows.Rows, options: table_options.Options) -> Started:
  """Packs rows into batches and has the device begin.

  Args:
    rows: n >= 1 steps.
    options: of the estimator.

  Returns:
    Started, for `finish`. The credit of a task does not depend on the others.
  """
  place, batches = _layout(rows)
  total = batches[-1].stop
  # Padding is no node of the graph, whatever its number.
  words = np.full(total, _PADDING)
  words[place] = rows.source
  ends = place[rows.last_row] + 1
  failed = ~rows.success[rows.last_row]
  words[ends[failed]] = rows.final[failed]
  action_words = None
  if rows.action is not None:
    action_words = np.full(total, _PADDING)
    action_words[place] = rows.action
  flags = np.zeros(total, np.uint8)
  last = np.zeros(len(place), bool)
  last[rows.last_row] = True
  # Bits by their dtype: times a Python integer they would take 8 bytes each.
  flags[place] = (
    np.uint8(table_device.STEP)
    + np.uint8(table_device.SUCCESS) * rows.success
    + np.uint8(table_device.LAST) * last
    + np.uint8(table_device.VALID) * rows.action_valid
  )
  numbers = np.zeros((3, total), np.float32)
  for values, given in zip(
    numbers, (rows.cost, rows.reward, rows.episode_return), strict=True
  ):
    values[place] = given

  results = []
  for batch in batches:
    part = slice(batch.start, batch.stop)
    # Not waited for: the next batch is numbered while this one runs.
    results.append(
      table_device.credit_groups(
        words[part].astype(np.int32).reshape(-1, batch.size)
        if rows.numbered
        else _numbered(words[part], flags[part], batch),
        *(
          array.reshape(-1, batch.size)
          for array in (flags[part], *numbers[:, part])
        ),
        action=None
        if action_words is None
        else _numbered(action_words[part], flags[part], batch),
        num_groups=batch.num_groups,
        options=options,
      )
    )
  return Started(results, batches, place, rows)


def _numbered(words, flags, batch):
  """Ids of the words of each of a batch's groups, int32 [B, E]."""
  used = batch.num_groups * batch.size
  ids = np.zeros(batch.stop - batch.start, np.int32)
  ids[:used] = table_device.node_ids(
    words[:used].reshape(-1, batch.size),
    # The ends of rollouts are numbered after the states that steps leave.
    (flags[:used] & table_device.STEP == 0).reshape(-1, batch.size),
  ).ravel()
  return ids.reshape(-1, batch.size)


def finish(started: Started) -> tuple[dict[str, np.ndarray], TableSummary]:
  """Waits for the device.

  Args:
    started: what `start` began.

  Returns:
    Fields of Credit, float32 [n] in the input's row order, and a TableSummary.
  """
  results = jax.device_get(started.results)
  rows, place = started.rows, started.place
  if rows.order is not None:
    unsorted = np.empty_like(place)
    unsorted[rows.order] = place
    place = unsorted

  def total(name):
    return sum(
      int(result[name][: batch.num_groups].sum())
      for result, batch in zip(results, started.batches, strict=True)
    )

  credit = {
    name: np.concatenate([result[name].ravel() for result in results])[place]
    for name in table_device.CREDIT_FIELDS
  }
  return credit, TableSummary(
    steps=len(rows.source),
    rollouts=len(rows.group),
    tasks=int(rows.group[-1]) + 1,
    successes=int(rows.success[rows.last_row].sum()),
    states=total("states"),
    reachable_states=total("reachable"),
  )


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
      batches.append(Batch(start, stop, size, min(left, batch_size)))
      left -= batch_size
  first_slot = np.cumsum(group_slots) - group_slots
  rollout_shift = np.arange(len(rows.group)) + (base - first_slot)[rows.group]
  place = np.arange(len(rows.rollout)) + rollout_shift[rows.rollout]
  return place, batches
