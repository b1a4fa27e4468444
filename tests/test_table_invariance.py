"""What must not change the credit of a table."""

import random

import hypothesis
from hypothesis import strategies as st

from graphgpo_jax import tables
from tests import credit_tables, oracle


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_order_of_rows_does_not_matter(seed):
  table = oracle.random_table(seed, tasks=4)
  order = list(range(len(table["t"])))
  random.Random(seed).shuffle(order)
  found = tables.assign_credit(oracle.reorder(table, order), omega=0.5)
  expected = tables.assign_credit(table, omega=0.5)
  credit_tables.assert_close(
    found, {name: column[order] for name, column in expected.items()}
  )


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_names_do_not_matter(seed):
  table = oracle.random_table(seed, tasks=4)
  expected = tables.assign_credit(table, omega=0.5)
  states = sorted(set(table["observation"]) | set(table["next_observation"]))
  random.Random(seed).shuffle(states)
  renamed = {
    state: [("kept", index), {"as": str(index)}, index, None][
      min(index, 3) if index < 4 else index % 2
    ]
    for index, state in enumerate(states)
  }
  found = tables.assign_credit(
    table
    | {
      "task": [task[-1] for task in table["task"]],
      "trajectory": [(9 - t, "r") for t in table["trajectory"]],
      "observation": [renamed[s] for s in table["observation"]],
      "next_observation": [renamed[s] for s in table["next_observation"]],
    },
    omega=0.5,
  )
  credit_tables.assert_close(found, expected)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_tasks_do_not_touch_each_other(seed):
  table = oracle.random_table(seed, tasks=3)
  # The same observations in all tasks: states are still a task's own.
  for name in ("observation", "next_observation"):
    table[name] = [text[-1] for text in table[name]]
  together = tables.assign_credit(table, omega=0.5)
  for task in set(table["task"]):
    rows = [row for row, name in enumerate(table["task"]) if name == task]
    alone = tables.assign_credit(oracle.reorder(table, rows), omega=0.5)
    credit_tables.assert_close(
      alone, {name: column[rows] for name, column in together.items()}
    )
