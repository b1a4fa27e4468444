"""What columns may be missing, hold or be made of."""

import jax
import numpy as np

from graphgpo_jax import tables
from tests import credit_tables, oracle


def test_missing_columns_are_filled():
  table = oracle.random_table(3, optional=False)
  lasts = [rows[-1] for rows in oracle.rollouts_of(table).values()]
  number = len(table["t"])
  full = table | {
    "episode_return": [6.0 * won for won in table["success"]],
    "reward": [
      6.0 * table["success"][row] * (row in lasts) for row in range(number)
    ],
    "action_valid": [True] * number,
    "cost": [1] * number,
    "action": [None] * number,
  }
  for estimator in ("graphgpo", "gigpo"):
    credit_tables.assert_close(
      tables.assign_credit(table, estimator, success_reward=6.0),
      tables.assign_credit(full, estimator, success_reward=6.0),
      atol=0,
    )
  returns = table | {"episode_return": full["episode_return"]}
  credit_tables.assert_close(
    tables.assign_credit(returns, "gigpo"),
    tables.assign_credit(full, "gigpo"),
    atol=0,
  )


class Series:
  """What a data frame's column looks like from outside."""

  def __init__(self, values):
    self.values = values

  def to_numpy(self):
    return np.asarray(self.values)

  def __len__(self):
    return len(self.values)


def test_columns_of_any_kind():
  table = oracle.random_table(5)
  expected = tables.assign_credit(table)
  texts = ("task", "observation", "next_observation", "action")
  kinds = {
    "arrays": np.asarray,
    "objects": lambda column: np.asarray(column, object),
    "tuples": tuple,
    "series": Series,
  }
  for kind in kinds.values():
    found = tables.assign_credit(
      {name: kind(column) for name, column in table.items()}
    )
    credit_tables.assert_close(found, expected, atol=0)
  states = sorted(set(table["observation"]) | set(table["next_observation"]))
  for make in (np.asarray, lambda ids: np.eye(99)[np.asarray(ids)]):
    found = tables.assign_credit(
      table
      | {
        name: make([states.index(state) for state in table[name]])
        for name in ("observation", "next_observation")
      }
      | {
        name: jax.numpy.asarray(table[name])
        for name in table
        if name not in texts
      }
    )
    credit_tables.assert_close(found, expected, atol=0)


def test_end_of_a_success_counts_for_nothing():
  table = credit_tables.corridor([3, 3])
  expected = tables.assign_credit(table)
  table["next_observation"][2] = None
  table["next_observation"][5] = "the end"
  credit_tables.assert_close(tables.assign_credit(table), expected, atol=0)


def test_gaps_in_t_are_allowed_where_observations_chain():
  table = credit_tables.corridor([4, 4])
  expected = tables.assign_credit(table)
  table["t"] = [10 * t - 7 for t in table["t"]]
  credit_tables.assert_close(tables.assign_credit(table), expected, atol=0)
  table["t"] = [float(t) for t in table["t"]]
  credit_tables.assert_close(tables.assign_credit(table), expected, atol=0)
