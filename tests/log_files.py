"""Step tables to log files and back, in either format."""

import json

import numpy as np


def write(path, table):
  """Writes a table of lists; Parquet if the name ends so."""
  if path.suffix == ".parquet":
    import pyarrow
    from pyarrow import parquet

    # Small row groups, so that a batch seldom is the whole file.
    parquet.write_table(pyarrow.table(table), path, row_group_size=16)
    return
  lines = [
    json.dumps(dict(zip(table, row, strict=True)))
    for row in zip(*table.values(), strict=True)
  ]
  path.write_text("".join(line + "\n" for line in lines))


def read(path):
  """A file's columns as lists."""
  if path.suffix == ".parquet":
    from pyarrow import parquet

    return parquet.read_table(path).to_pydict()
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def assert_holds(path, table, credit, rows=None):
  """A file holds the keys and, bit for bit, the credit of rows of a table."""
  rows = range(len(table["t"])) if rows is None else rows
  found = read(path)
  assert list(found) == ["task", "trajectory", "t", *credit]
  for name in ("task", "trajectory", "t"):
    assert found[name] == [table[name][row] for row in rows]
  for name, column in credit.items():
    np.testing.assert_array_equal(np.float32(found[name]), column, name)


def interleave(table, stride):
  """Order of rows that deals out tasks, each one's rows in their order."""
  rows_of = {}
  for row, task in enumerate(table["task"]):
    rows_of.setdefault(task, []).append(row)
  piles = list(rows_of.values())
  order = []
  while any(piles):
    for pile in piles:
      order += pile[:stride]
      del pile[:stride]
  return order
