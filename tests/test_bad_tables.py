"""Bad tables and options: a ValueError that names what is wrong."""

import numpy as np
import pytest

from graphgpo_jax import tables
from tests import oracle


@pytest.fixture
def table():
  """Two tasks of two rollouts of two steps; rows 0 to 7."""
  return {
    "task": ["a"] * 4 + ["b"] * 4,
    "trajectory": [0, 0, 1, 1] * 2,
    "t": [0, 1] * 4,
    "observation": ["start", "middle"] * 4,
    "next_observation": ["middle", "end"] * 4,
    "success": [True, True, False, False] * 2,
    "reward": [0.0, 1.0, 0.0, 0.0] * 2,
    "episode_return": [1.0, 1.0, 0.0, 0.0] * 2,
    "action_valid": [True, False] * 4,
    "cost": [1.0, 2.0] * 4,
  }


def assert_refused(table, *parts, **options):
  with pytest.raises(ValueError) as caught:
    tables.assign_credit(table, **options)
  for part in parts:
    assert part in str(caught.value), str(caught.value)


def test_the_table_itself_is_fine(table):
  assert len(tables.assign_credit(table)["advantage"]) == len(table["t"])


@pytest.mark.parametrize(
  "name",
  [
    "task",
    "trajectory",
    "t",
    "observation",
    "next_observation",
    "success",
  ],
)
def test_missing_column(table, name):
  del table[name]
  assert_refused(
    table, f"lacks the column '{name}'", "expected task, trajectory"
  )


@pytest.mark.parametrize("name", ["t", "observation", "cost", "action_valid"])
def test_unequal_columns(table, name):
  table[name] = table[name][:-1]
  assert_refused(
    table, f"column '{name}' has 7 rows", "8", "one entry per step"
  )


@pytest.mark.parametrize("column", [3, "text", None, {"a": 1}, np.asarray(2)])
def test_column_that_is_no_sequence(table, column):
  table["observation"] = column
  assert_refused(table, "column 'observation' must be a sequence")


def test_empty_table(table):
  assert_refused({name: [] for name in table}, "the table is empty")


@pytest.mark.parametrize("steps", [None, [], [{"task": 1}]])
def test_table_that_is_no_mapping(steps):
  assert_refused(steps, "steps must be a mapping")


@pytest.mark.parametrize(
  ("name", "value", "expected"),
  [
    ("cost", -1.0, "at least 0"),
    ("cost", float("nan"), "finite number"),
    ("cost", float("inf"), "finite number"),
    ("cost", "1", "finite number"),
    ("cost", None, "finite number"),
    ("cost", 1e39, "finite number"),
    ("reward", float("nan"), "finite number"),
    ("reward", [1.0], "finite number"),
    ("episode_return", float("-inf"), "finite number"),
    ("episode_return", 10**400, "finite number"),
    ("t", 0.5, "an integer"),
    ("t", "0", "an integer"),
    ("t", None, "an integer"),
    ("t", float("nan"), "an integer"),
    ("t", 2**70, "an integer"),
    ("success", "yes", "a boolean"),
    ("success", 2, "a boolean"),
    ("success", None, "a boolean"),
    ("success", 0.5, "a boolean"),
    ("action_valid", -1, "a boolean"),
    ("action_valid", float("nan"), "a boolean"),
    ("task", None, "an id"),
    ("task", float("nan"), "an id"),
    ("task", ["a"], "an id"),
    ("trajectory", {"a": 1}, "an id"),
    ("trajectory", np.arange(3), "an id"),
    ("observation", {1, 2}, "set"),
  ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_bad_value(table, name, value, expected, as_array):
  table[name][6] = value
  if as_array:
    column = np.empty(8, object)
    column[:] = table[name]
    table[name] = column
  assert_refused(table, f"column '{name}', row 6", expected)


def test_bad_values_in_typed_arrays(table):
  assert_refused(
    table | {"cost": np.asarray([1.0] * 5 + [-2.0] * 3)},
    "column 'cost', row 5",
    "at least 0",
    "-2.0",
  )
  assert_refused(
    table | {"t": np.asarray([0.0, 1.0, 0.0, 1.5] * 2)},
    "column 't', row 3",
    "an integer",
  )
  assert_refused(
    table | {"success": np.asarray([0, 1, 2, 3] * 2)},
    "column 'success', row 2",
    "a boolean",
  )
  assert_refused(
    table | {"cost": np.asarray(["1"] * 8)}, "column 'cost', row 0", "finite"
  )
  assert_refused(
    table | {"cost": np.ones((8, 2))}, "column 'cost', row 0", "finite"
  )


@pytest.mark.parametrize("order", [range(8), range(7, -1, -1)])
def test_last_next_observation_of_a_type_unknown(table, order):
  table["next_observation"][7] = object()
  assert_refused(
    oracle.reorder(table, order),
    f"column 'next_observation', row {list(order).index(7)}",
    "cannot hold an object of type object",
  )


@pytest.mark.parametrize("order", [range(8), [7, 1, 5, 3, 0, 6, 2, 4]])
def test_rows_are_named_as_given(table, order):
  table["observation"][5] = "elsewhere"
  order = list(order)
  assert_refused(
    oracle.reorder(table, order),
    f"rows {order.index(4)} and {order.index(5)} do not chain",
    "task b, trajectory 0, t 0",
    "'middle'",
    "'elsewhere'",
  )


@pytest.mark.parametrize(
  "states",
  [
    {"start": 0, "middle": 1, "end": 2},
    {"start": [0], "middle": [1], "end": []},
  ],
)
def test_chain_of_other_observations(table, states):
  for name in ("observation", "next_observation"):
    table[name] = [states[state] for state in table[name]]
  tables.assign_credit(table)
  table["next_observation"][2] = states["start"]
  assert_refused(
    table, "rows 2 and 3 do not chain", "task a, trajectory 1, t 0"
  )


@pytest.mark.parametrize("other", [None, 1, np.zeros(3), ["middle"]])
def test_chain_of_text_and_something_else(table, other):
  table["next_observation"][6] = other
  assert_refused(table, "rows 6 and 7 do not chain")


def test_gap_that_does_not_chain(table):
  table = oracle.reorder(table, [0, 1, 2, 3])
  table["task"], table["trajectory"] = ["a"] * 4, [0] * 4
  table["success"], table["episode_return"] = [True] * 4, [1.0] * 4
  table["t"] = [0, 1, 5, 6]
  assert_refused(table, "rows 1 and 2 do not chain", "t 1")


def test_duplicate_step(table):
  table["t"][3] = 0
  assert_refused(
    table, "rows 2 and 3", "same step", "task a, trajectory 1, t 0"
  )


def test_success_that_differs(table):
  table["success"][5] = False
  assert_refused(table, "'success' differs between rows 4 and 5", "task b")


def test_episode_return_that_differs(table):
  table["episode_return"][3] = 0.5
  assert_refused(
    table, "'episode_return' differs between rows 2 and 3", "task a"
  )


@pytest.mark.parametrize("estimator", ["ppo", "", "GraphGPO"])
def test_unknown_estimator(table, estimator):
  assert_refused(
    table,
    "unknown estimator",
    "graphgpo, gigpo, grpo, rloo",
    estimator=estimator,
  )


@pytest.mark.parametrize("estimator", [None, 3, ["graphgpo"]])
def test_estimator_of_another_type(table, estimator):
  assert_refused(
    table, "estimator must be a name or a function", estimator=estimator
  )


@pytest.mark.parametrize(
  ("estimator", "option"),
  [
    ("graphgpo", "gamma"),
    ("graphgpo", "discount"),
    ("graphgpo", "normalize"),
    ("gigpo", "omega"),
    ("grpo", "step_weight"),
    ("rloo", "normalization"),
    ("rloo", "epsilon"),
  ],
)
def test_unknown_option(table, estimator, option):
  assert_refused(
    table,
    f"unknown option '{option}'",
    estimator,
    "invalid_penalty",
    "success_reward",
    estimator=estimator,
    **{option: 0.5},
  )


@pytest.mark.parametrize(
  ("option", "values"),
  [
    ("omega", [0, 1, -0.1, 1.5, float("nan"), "0.5", None, True, 1 - 1e-12]),
    ("epsilon", [0.0, -1e-6, float("nan"), float("inf"), 1e-60]),
    ("invalid_penalty", [-0.1, float("nan"), float("inf"), "a"]),
    ("unreachable_margin", [-1.0, float("nan")]),
    ("success_reward", [float("nan"), float("inf"), 1e39, None]),
    ("step_weight", [float("nan"), "1"]),
    ("episode_weight", [float("inf"), [1.0]]),
    ("normalization", ["std", None, 1, ["mean"]]),
    ("ddof", [2, -1, 0.5, True, "1"]),
    ("normalize_distance", [1, "yes", None]),
    ("per_rollout", [0.0]),
  ],
)
def test_option_out_of_range(table, option, values):
  for value in values:
    assert_refused(
      table, f"option '{option}': expected", repr(value), **{option: value}
    )


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan"), "0.9"])
def test_discount_out_of_range(table, discount):
  assert_refused(
    table,
    "option 'discount': expected a number from 0 to 1",
    estimator="gigpo",
    discount=discount,
  )
