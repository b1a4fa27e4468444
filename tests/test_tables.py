"""assign_credit against the oracle, by name, and in extreme cases."""

import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators, graph
from tests import credit_tables, family_oracle, oracle

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
  credit_tables.assert_close(found, {name: expected[name] for name in found})
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


# g2po compares the gain of a step with those of all others, which differ here.
@pytest.mark.parametrize(
  "estimator",
  ["graphgpo", "gigpo", "grpo", "rloo", "hgpo", "pgpo", "gagpo", "salt"],
)
@pytest.mark.parametrize("success", [True, False])
def test_equal_values_give_exactly_zero(estimator, success):
  found = tables.assign_credit(
    credit_tables.corridor(range(5, 13), success),
    estimator,
    success_reward=10.0 / 3.0,
  )
  for name, column in found.items():
    if name.endswith("advantage"):
      assert np.all(column == 0.0), name


@pytest.mark.parametrize(
  "table",
  [
    credit_tables.corridor([1]),
    credit_tables.corridor([1], success=False),
    credit_tables.corridor([300]),
    credit_tables.corridor([40] * 30),
    oracle.random_table(0, states=1),
  ],
)
def test_extreme_tables_are_finite(table):
  for column in tables.assign_credit(table).values():
    assert column.shape == (len(table["t"]),)
    assert column.dtype == np.float32
    assert np.isfinite(column).all()


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
  credit_tables.assert_close(
    tables.assign_credit(table, estimators.graphgpo, omega=0.5),
    tables.assign_credit(table, "graphgpo", omega=0.5),
    atol=0,
  )


def test_summary_counts():
  table = credit_tables.corridor([2, 3])
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
