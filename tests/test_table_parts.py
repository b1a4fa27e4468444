"""Long tables in parts against the same tables at once."""

import functools

import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax.tables import table_columns, table_parts

PART_ROWS = 20


def log(num_tasks=12, seed=0, text=True):
  """Walks of 1 to 9 steps over five rooms, three rollouts a task."""
  rng = np.random.default_rng(seed)
  columns = {name: [] for name in table_columns.REQUIRED}
  for task in range(num_tasks):
    for trajectory in range(3):
      path = rng.integers(0, 5, rng.integers(2, 11)).tolist()
      success = bool(rng.random() < 0.5)
      for t, (here, there) in enumerate(zip(path, path[1:], strict=False)):
        columns["task"].append(f"task {task}" if text else task)
        columns["trajectory"].append(trajectory)
        columns["t"].append(t)
        columns["observation"].append(f"room {here}" if text else here)
        columns["next_observation"].append(f"room {there}" if text else there)
        columns["success"].append(success)
  return columns


def split(columns):
  return table_parts.split_tasks(
    table_columns.read_columns(columns), part_rows=PART_ROWS
  )


@pytest.fixture
def short_parts(monkeypatch):
  monkeypatch.setattr(
    table_parts,
    "split_tasks",
    functools.partial(table_parts.split_tasks, part_rows=PART_ROWS),
  )


@pytest.mark.parametrize("text", [True, False])
def test_parts_hold_whole_tasks_in_order(text):
  columns = log(text=text)
  parts = split(columns)
  assert len(parts) > 3
  assert all(len(part["t"]) >= PART_ROWS for part in parts[:-1])
  for name in ("trajectory", "t", "observation", "success"):
    joined = [value for part in parts for value in part[name]]
    assert joined == columns[name]
  tasks = [set(np.asarray(part["task"]).tolist()) for part in parts]
  assert sum(map(len, tasks)) == len(set.union(*tasks)) == 12


def test_short_tables_and_scattered_tasks_stay_whole():
  short = log(num_tasks=1)
  assert split(short) == [short]
  scattered = log()
  # The first task's first row goes last.
  for column in scattered.values():
    column.append(column.pop(0))
  assert split(scattered) == [scattered]
  lacking = log()
  lacking["task"][3] = None
  assert split(lacking) == [lacking]


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo", "rloo"])
def test_credit_is_that_of_the_table_at_once(short_parts, estimator):
  columns = log()
  in_parts = graphgpo_jax.tables.credit_table(columns, estimator)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(table_parts, "split_tasks", lambda columns: [columns])
    at_once = graphgpo_jax.tables.credit_table(columns, estimator)
  assert in_parts[1] == at_once[1]
  assert in_parts[1].tasks == 12
  for name, column in at_once[0].items():
    np.testing.assert_array_equal(in_parts[0][name], column)


def test_errors_name_the_row_of_the_whole_table(short_parts):
  columns = log()
  row = len(columns["t"]) - 1
  columns["success"][row] = 5
  with pytest.raises(ValueError, match=f"column 'success', row {row}"):
    graphgpo_jax.assign_credit(columns)
  columns = log()
  columns["next_observation"][-2] = "nowhere"
  with pytest.raises(
    ValueError, match=f"rows {row - 1} and {row} do not chain .task task 11"
  ):
    graphgpo_jax.assign_credit(columns)
