"""assign_credit against the oracle, and what must not change its result."""

import random

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators, graph
from graphgpo_jax.tables import table_device
from tests import oracle

PAPER = {"add_step_cost": True, "distinct_edges": True, "per_rollout": True}
# Few sets of compiled options, so that the file compiles few times; numbers
# vary freely.
SETTINGS = [
  ("graphgpo", {}),
  ("graphgpo", PAPER | {"normalization": "mean"}),
  ("graphgpo", {"scale_free": True, "normalize_distance": True}),
  ("gigpo", {"penalty_only_with_success": True}),
  ("grpo", {"per_rollout": True}),
  ("rloo", {}),
]
NAMES = {
  "graphgpo": {
    "step_return": "graph_return",
    "step_advantage": "graph_advantage",
  },
  "grpo": {"step_return": None, "step_advantage": None},
  "rloo": {"step_return": None, "step_advantage": None},
}


def numbers_for(estimator, draw):
  options = {
    "success_reward": draw.choice([10.0, 4.0]),
    "invalid_penalty": draw.choice([0.0, 0.25]),
    "episode_weight": draw.choice([1.0, 0.5]),
  }
  if estimator == "graphgpo":
    options["omega"] = draw.choice([0.5, 0.75, 0.9])
    options["unreachable_margin"] = draw.choice([1.0, 3.0])
  if estimator == "gigpo":
    options["discount"] = draw.choice([0.5, 0.95])
  if estimator in ("graphgpo", "gigpo"):
    options["step_weight"] = draw.choice([1.0, 2.0])
  if estimator != "rloo":
    options |= {"ddof": draw.choice([0, 1]), "epsilon": 1e-3}
  return options


def assert_close(found, expected, atol=2e-4):
  assert list(found) == list(expected)
  for name, column in found.items():
    np.testing.assert_allclose(
      column, expected[name], rtol=0, atol=atol, err_msg=name
    )


@pytest.mark.parametrize(("estimator", "static"), SETTINGS)
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**32), states=st.integers(1, 6), optional=st.booleans()
)
def test_equals_the_oracle(estimator, static, seed, states, optional):
  draw = random.Random(seed)
  table = oracle.random_table(seed, states=states, optional=optional)
  if optional:
    for name in draw.sample(["reward", "episode_return", "cost"], 1):
      del table[name]
  options = static | numbers_for(estimator, draw)
  found = tables.assign_credit(table, estimator, **options)
  expected = oracle.assign_credit(table, estimator, **options)
  for field, name in NAMES.get(estimator, {}).items():
    column = expected.pop(field)
    if name:
      expected[name] = column
  assert set(found) == set(expected)
  assert_close(found, {name: expected[name] for name in found})
  for column in found.values():
    assert np.isfinite(column).all()


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32))
def test_order_of_rows_does_not_matter(seed):
  table = oracle.random_table(seed, tasks=4)
  order = list(range(len(table["t"])))
  random.Random(seed).shuffle(order)
  found = tables.assign_credit(oracle.reorder(table, order), omega=0.5)
  expected = tables.assign_credit(table, omega=0.5)
  assert_close(
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
  assert_close(found, expected)


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
    assert_close(
      alone, {name: column[rows] for name, column in together.items()}
    )


def corridor(lengths, success=True):
  """Rollouts through states that count down the steps left."""
  table = {name: [] for name in oracle.random_table(0, optional=False)}
  for trajectory, length in enumerate(lengths):
    for t in range(length):
      row = (0, trajectory, t, length - t, length - t - 1, success)
      for column, value in zip(table.values(), row, strict=True):
        column.append(value)
  return table


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo", "grpo", "rloo"])
@pytest.mark.parametrize("success", [True, False])
def test_equal_values_give_exactly_zero(estimator, success):
  found = tables.assign_credit(
    corridor(range(5, 13), success), estimator, success_reward=10.0 / 3.0
  )
  for name, column in found.items():
    if name.endswith("advantage"):
      assert np.all(column == 0.0), name


@pytest.mark.parametrize(
  "table",
  [
    corridor([1]),
    corridor([1], success=False),
    corridor([300]),
    corridor([40] * 30),
    oracle.random_table(0, states=1),
  ],
)
def test_extreme_tables_are_finite(table):
  for column in tables.assign_credit(table).values():
    assert column.shape == (len(table["t"]),)
    assert column.dtype == np.float32
    assert np.isfinite(column).all()


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
    assert_close(
      tables.assign_credit(table, estimator, success_reward=6.0),
      tables.assign_credit(full, estimator, success_reward=6.0),
      atol=0,
    )
  returns = table | {"episode_return": full["episode_return"]}
  assert_close(
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
    assert_close(found, expected, atol=0)
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
    assert_close(found, expected, atol=0)


def test_end_of_a_success_counts_for_nothing():
  table = corridor([3, 3])
  expected = tables.assign_credit(table)
  table["next_observation"][2] = None
  table["next_observation"][5] = "the end"
  assert_close(tables.assign_credit(table), expected, atol=0)


def test_gaps_in_t_are_allowed_where_observations_chain():
  table = corridor([4, 4])
  expected = tables.assign_credit(table)
  table["t"] = [10 * t - 7 for t in table["t"]]
  assert_close(tables.assign_credit(table), expected, atol=0)
  table["t"] = [float(t) for t in table["t"]]
  assert_close(tables.assign_credit(table), expected, atol=0)


def progress(steps: graph.Steps, state_graph, distance, *, scale: float = 1.0):
  """An estimator of a user's own: distance won by each step."""
  credit = estimators.grpo(steps, state_graph, distance)
  gain = scale * (credit.distance - credit.next_distance)
  return credit.replace(step_advantage=gain, advantage=gain)


def test_estimator_may_be_a_function():
  table = oracle.random_table(7)
  found = tables.assign_credit(table, progress, scale=2.0)
  np.testing.assert_array_equal(
    found["advantage"], 2.0 * (found["distance"] - found["next_distance"])
  )
  np.testing.assert_array_equal(found["advantage"], found["step_advantage"])
  assert_close(
    tables.assign_credit(table, estimators.graphgpo, omega=0.5),
    tables.assign_credit(table, "graphgpo", omega=0.5),
    atol=0,
  )


def test_summary_counts():
  table = corridor([2, 3])
  table["task"] = ["a", "a", "b", "b", "b"]
  table["success"] = [True, True, False, False, False]
  _, summary = tables.credit_table(table)
  assert summary == tables.TableSummary(
    steps=5,
    rollouts=2,
    tasks=2,
    successes=1,
    states=2 + 4,
    reachable_states=2,
  )


def test_many_shapes_and_numbers_compile_a_handful_of_times():
  draw = random.Random(0)
  before = table_device._credit_groups._cache_size()
  for batch in range(200):
    table = oracle.random_table(
      batch,
      tasks=draw.randint(1, 40),
      rollouts=draw.choice([2, 8, 12]),
      horizon=draw.choice([3, 10, 40]),
      states=draw.randint(1, 30),
      optional=False,
    )
    tables.assign_credit(
      table,
      omega=draw.uniform(0.1, 0.9),
      invalid_penalty=draw.random(),
      epsilon=draw.uniform(1e-6, 1e-3),
    )
  assert table_device._credit_groups._cache_size() - before <= 8


def test_vectorised_form_of_other_platforms_agrees():
  table = oracle.random_table(11, tasks=5)
  expected = tables.assign_credit(table, omega=0.5)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "default_backend", lambda: "other")
    assert_close(tables.assign_credit(table, omega=0.5), expected, atol=1e-6)


@pytest.mark.parametrize("sizes", [[1], [254, 255, 256], [1023, 5000, 70_000]])
def test_each_group_has_room_for_its_slots_and_the_sink(sizes):
  classes = table_device.slot_class(np.asarray(sizes))
  assert (classes > np.asarray(sizes)).all()
  for size in classes.tolist():
    for number in (1, 17, 200, 5000):
      batches = table_device.batch_sizes(number, size)
      assert sum(batches) >= number > sum(batches[:-1])
