"""assign_credit against the oracle, and what must not change its result."""

import random

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators, graph
from graphgpo_jax.tables import packing, table_device, table_options
from tests import family_oracle, oracle

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


FAMILY = {
  "hgpo": {"history_alpha": 0.5},
  "g2po": {"fail_value": -1.0},
  "pgpo": {"alpha": 1.5, "potential_weight": 2.0},
  "gagpo": {"gae_lambda": 0.5},
  "salt": {"invalid_penalty": 0.5},
}


@pytest.mark.parametrize("estimator", FAMILY)
@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**32), states=st.integers(1, 6), optional=st.booleans()
)
def test_the_family_equals_its_oracle(estimator, seed, states, optional):
  table = oracle.random_table(seed, states=states, optional=optional)
  options = FAMILY[estimator] | {"epsilon": 1e-3, "step_weight": 2.0}
  found = tables.assign_credit(table, estimator, **options)
  expected = family_oracle.assign_credit(table, estimator, **options)
  for name in ("step_return", "step_advantage", "advantage"):
    np.testing.assert_allclose(
      found[name], expected[name], rtol=1e-4, atol=1e-3, err_msg=name
    )


@pytest.mark.slow
@pytest.mark.parametrize("estimator", estimators.ESTIMATORS)
def test_every_estimator_by_its_name(estimator):
  table = oracle.random_table(9)
  found = tables.assign_credit(table, estimator)
  for name, column in found.items():
    assert column.shape == (len(table["t"]),)
    assert np.isfinite(column).all(), name
  step = {
    "graphgpo": ["graph_return", "graph_advantage"],
    "tigpo": ["graph_return", "graph_advantage"],
    "grpo": [],
    "rloo": [],
  }.get(estimator, ["step_return", "step_advantage"])
  assert list(found) == [
    "distance",
    "next_distance",
    *step,
    "episode_advantage",
    "advantage",
  ]
  assert found["advantage"].any()


@pytest.mark.parametrize("estimator", estimators.ESTIMATORS)
def test_actions_are_read_where_it_is_said(estimator):
  """By the equations themselves: whether the action is an input of any."""
  shape = jax.ShapeDtypeStruct((9,), jax.numpy.float32)
  kinds = dict.fromkeys(("cost", "reward", "episode_return"), shape.dtype)
  kinds |= dict.fromkeys(("source", "target", "action"), jax.numpy.int32)

  def credit(columns):
    return estimators.credit_group(
      graph.Steps(**columns), estimators.ESTIMATORS[estimator], max_nodes=9
    )[0]

  columns = {
    name: jax.ShapeDtypeStruct((9,), kinds.get(name, bool))
    for name in graph.Steps.__dataclass_fields__
  }
  traced = jax.make_jaxpr(credit)(columns).jaxpr
  action = traced.invars[sorted(columns).index("action")]
  read = any(action is given for each in traced.eqns for given in each.invars)
  assert read == (estimator in estimators.READS_ACTIONS)


@pytest.mark.parametrize(
  "rename",
  [
    lambda name: name,
    lambda name: ord(name),
    lambda name: {"press": [name, None]},
    lambda name: name == "a" or (None if name == "b" else 2.5),
  ],
)
def test_actions_may_be_anything_that_has_a_fingerprint(rename):
  table = oracle.random_table(12, states=2, rollouts=6)
  expected = tables.assign_credit(table, "salt")
  renamed = table | {"action": [rename(name) for name in table["action"]]}
  assert_close(tables.assign_credit(renamed, "salt"), expected, atol=0)
  order = list(range(len(table["t"])))
  random.Random(0).shuffle(order)
  found = tables.assign_credit(oracle.reorder(renamed, order), "salt")
  assert_close(
    found, {name: column[order] for name, column in expected.items()}, 1e-6
  )
  del renamed["action"]
  without = tables.assign_credit(renamed, "salt")
  assert (without["advantage"] != expected["advantage"]).any()


def test_an_action_without_a_fingerprint_is_named_where_it_is_read():
  table = oracle.random_table(12)
  table["action"][4] = object()
  with pytest.raises(ValueError, match="column 'action', row 4: .*object"):
    tables.assign_credit(table, "salt")
  expected = tables.assign_credit(table | {"action": [0] * len(table["t"])})
  assert_close(tables.assign_credit(table), expected, atol=0)


@pytest.mark.parametrize(
  ("estimator", "sent"), [("graphgpo", False), ("salt", True)]
)
def test_actions_are_sent_only_where_they_are_read(
  monkeypatch, estimator, sent
):
  seen = []
  credit_groups = packing.table_device.credit_groups

  def spy(*arrays, action=None, **options):
    seen.append(action)
    return credit_groups(*arrays, action=action, **options)

  monkeypatch.setattr(packing.table_device, "credit_groups", spy)
  tables.assign_credit(oracle.random_table(1), estimator)
  assert seen and all((action is not None) == sent for action in seen)
  for action in seen:
    assert not sent or (action.dtype == np.int32 and action.max() <= 256)


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


# g2po compares the gain of a step with those of all others, which differ here.
@pytest.mark.parametrize(
  "estimator",
  ["graphgpo", "gigpo", "grpo", "rloo", "hgpo", "pgpo", "gagpo", "salt"],
)
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


@pytest.mark.parametrize(
  ("estimator", "option", "values", "expected"),
  [
    ("hgpo", "history_length", [-1, 1.0, True, "2", None], "a whole number"),
    ("hgpo", "history_alpha", [float("nan"), float("inf"), "1"], "a finite"),
    ("hgpo", "episode_base", [1, "yes", None], "True or False"),
    ("hgpo", "discount", [1.1, -0.1, True], "a number from 0 to 1"),
    ("hgpo", "weight_epsilon", [0.0, float("inf")], "a number above 0"),
    ("g2po", "fail_value", [float("inf"), None, 1e39], "a finite number"),
    ("pgpo", "alpha", [-1.0, 10**400], "a number of at least 0"),
    ("pgpo", "potential_discount", [2.0], "a number from 0 to 1"),
    ("gagpo", "gae_lambda", [1.5, float("nan")], "a number from 0 to 1"),
    ("graphhca", "power", [0.5, float("nan")], "a number of at least 1, or"),
    ("graphhca", "floor", [0.0, -1.0], "a number above 0"),
    ("graphhca", "use_costs", [0], "True or False"),
    ("graphhca", "resolution", [-1e-9], "a number of at least 0"),
    ("crbc", "floor", [float("inf")], "a number above 0"),
  ],
)
def test_option_of_the_family_out_of_range(estimator, option, values, expected):
  for value in values:
    with pytest.raises(ValueError) as caught:
      table_options.read_options(estimator, {option: value})
    assert f"option {option!r}: expected {expected}" in str(caught.value)


def test_power_may_be_infinite():
  options = table_options.read_options("graphhca", {"power": float("inf")})
  assert options.traced["power"] == float("inf")


def test_naming_a_default_changes_nothing():
  plain = table_options.read_options("hgpo", {})
  named = table_options.read_options(
    "hgpo", {"history_length": np.int64(2), "episode_base": False}
  )
  assert plain == named
  assert "ddof" not in plain.traced  # Its two normalisers differ in it.
  assert table_options.read_options("g2po", {}).traced["ddof"] == 1.0


def test_nodes_are_numbered_as_they_first_appear():
  words = np.asarray([[9, 5, 7, 5, 1], [4, 4, 2, 3, 9]], np.uint64)
  words[0, 3] = words[1, 4] = table_device.PADDING
  late = np.asarray([[False, True, False, True, False], [False] * 5])
  ids = table_device.node_ids(words, late)
  assert ids.tolist() == [[1, 4, 2, 5, 3], [1, 1, 2, 3, 4]]


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_nodes_do_not_depend_on_what_observations_are(
  monkeypatch, seed
):
  """Solvers round by them, and files must get what tables get to the bit."""
  seen = []
  credit_groups = table_device.credit_groups

  def spy(nodes, flags, *arrays, **options):
    padding = (flags == 0) & (
      np.roll(flags, 1, axis=1) & table_device.LAST == 0
    )
    seen.append(np.where(padding, -1, nodes))
    return credit_groups(nodes, flags, *arrays, **options)

  monkeypatch.setattr(packing.table_device, "credit_groups", spy)
  table = oracle.random_table(seed, tasks=4)
  wrapped = {
    name: [(text, None) for text in table[name]]
    for name in ("observation", "next_observation")
  }
  tables.assign_credit(table)
  tables.assign_credit(table | wrapped)
  texts, tuples = seen
  # Where a success ended no state stands.
  np.testing.assert_array_equal(texts[texts >= 0], tuples[texts >= 0])
  assert (texts >= 0).sum() > len(table["t"])
