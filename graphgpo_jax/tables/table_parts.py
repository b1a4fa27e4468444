"""Cuts a long table between tasks, so that reading and computing overlap."""

import numpy as np

from graphgpo_jax.tables import table_columns

# Rows of a part: long enough to fill the device's batches.
PART_ROWS = 2**15


def split_tasks(
  columns: dict[str, table_columns.Column], *, part_rows: int = PART_ROWS
) -> list[dict[str, table_columns.Column]]:
  """Parts of a table, one after the other, that hold whole tasks.

  Args:
    columns: the table's columns, n rows.
    part_rows: rows that a part has at least, but for the last one.

  Returns:
    The parts, with `task` as numbers: one part, the table itself, where it is
    short, where rows of a task stand apart, or where a task's id is no id.
  """
  num_rows = len(columns["task"])
  if num_rows < 2 * part_rows:
    return [columns]
  try:
    task = table_columns.codes("task", columns["task"])
  except ValueError:
    # Reading the whole table says what is wrong.
    return [columns]
  heads = np.flatnonzero(np.diff(task, prepend=-1))
  if len(heads) != task.max() + 1:
    return [columns]
  cuts = [0]
  while num_rows - cuts[-1] >= 2 * part_rows:
    place = np.searchsorted(heads, cuts[-1] + part_rows)
    if place == len(heads):
      break
    cuts.append(int(heads[place]))
  cuts.append(num_rows)
  columns = {**columns, "task": task}
  return [
    {name: column[start:stop] for name, column in columns.items()}
    for start, stop in zip(cuts, cuts[1:], strict=False)
  ]
