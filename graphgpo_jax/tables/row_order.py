"""Order of a table's rows by the rollouts that they are steps of."""

import numpy as np


def rollout_order(
  key: np.ndarray, task: np.ndarray, time: np.ndarray
) -> np.ndarray | None:
  """Order of rows by task, rollout and t; None if they have it already.

  Tasks come in the order of their codes, a task's rollouts as they first
  appear: a group is then the same, to the last bit of its sums, whatever
  other groups stand in the table.

  Args:
    key: int64 [n], a number for each (task, trajectory).
    task: int64 [n], codes in the order in which tasks appear.
    time: int64 [n].

  Returns:
    int64 [n], input row of each row, or None.
  """
  runs = np.flatnonzero(key[1:] != key[:-1]) + 1
  heads = np.concatenate([[0], runs])
  # Ids are numbered as they appear, so a task that comes back steps down.
  in_order = (
    bool(np.all(task[1:] >= task[:-1]))
    and len(np.unique(key[heads])) == len(heads)
    and bool(np.all((time[1:] > time[:-1]) | (key[1:] != key[:-1])))
  )
  if in_order:
    return None
  order = np.lexsort((time, key))
  ordered = key[order]
  starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
  lengths = np.diff(np.append(starts, len(order)))
  first_seen = np.minimum.reduceat(order, starts)
  rollouts = np.lexsort((first_seen, task[order[starts]]))
  lengths = lengths[rollouts]
  shift = starts[rollouts] - (np.cumsum(lengths) - lengths)
  return order[np.arange(len(order)) + np.repeat(shift, lengths)]
