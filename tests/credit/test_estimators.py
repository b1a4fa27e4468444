import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import distances, estimators, normalize
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import (
  configurations,
  hand_groups,
  random_groups,
  rules,
  transforms,
)

NUM_ENTRIES = 48
NUM_NODES = 12
FIELDS = (
  "distance",
  "next_distance",
  "step_return",
  "step_advantage",
  "episode_advantage",
  "advantage",
)

# Half as discount and as omega: sums and powers the oracle can repeat exactly.
HALF = {"omega": 0.5}
CENTER = {"normalize": normalize.mean_only}
CONFIGS = {
  "default": ("graphgpo", {}),
  "half": ("graphgpo", HALF),
  "center": ("graphgpo", HALF | CENTER),
  "cost": ("graphgpo", HALF | CENTER | {"add_step_cost": True}),
  "relative": ("graphgpo", HALF | CENTER | {"normalize_distance": True}),
  "relative, cost": (
    "graphgpo",
    HALF | CENTER | {"normalize_distance": True, "add_step_cost": True},
  ),
  "scale free": ("graphgpo", HALF | CENTER | {"scale_free": True}),
  "scale free, cost": (
    "graphgpo",
    HALF | CENTER | {"scale_free": True, "add_step_cost": True},
  ),
  "edges": ("graphgpo", HALF | {"distinct_edges": True}),
  "rollouts": ("graphgpo", HALF | {"per_rollout": True}),
  "margin": ("graphgpo", HALF | {"unreachable_margin": 2.0}),
  "penalty": ("graphgpo", HALF | CENTER | {"invalid_penalty": 0.5}),
  "penalty, success": (
    "graphgpo",
    HALF | CENTER | {"invalid_penalty": 0.5, "penalty_only_with_success": True},
  ),
  "weights": (
    "graphgpo",
    HALF
    | CENTER
    | {"success_reward": 4.0, "step_weight": 2.0, "episode_weight": 0.5},
  ),
  "gigpo": ("gigpo", {"discount": 0.5, "invalid_penalty": 0.5}),
  "gigpo, center": ("gigpo", CENTER | {"discount": 0.5}),
  "gigpo, rollouts": (
    "gigpo",
    {"discount": 0.5, "per_rollout": True, "step_weight": 0.5},
  ),
  "grpo": ("grpo", {"invalid_penalty": 0.5}),
  "grpo, rollouts": ("grpo", CENTER | {"per_rollout": True}),
  "rloo": ("rloo", {"invalid_penalty": 0.5, "episode_weight": 2.0}),
}

# A penalty only where a configuration names one, whatever the defaults are.
CONFIGS = {
  name: (estimator, {"invalid_penalty": 0.0} | options)
  for name, (estimator, options) in CONFIGS.items()
}


def everything(steps):
  found = configurations.credit_of_each(steps, CONFIGS, max_nodes=NUM_NODES)
  distance = distances.edge_distances(
    graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  )
  here, there = estimators.step_distances(
    steps, distance, unreachable_margin=2.0
  )
  alone = estimators.episode_advantage(steps, jnp.zeros_like(steps.reward))
  return found, {"here": here, "there": there, "episode": alone}


run = transforms.over_groups(everything)


def lay_out(group, **options):
  return random_groups.lay_out(group, NUM_ENTRIES, **options)


def failed_group():
  """No success; one of two steps from the same state was invalid."""
  return [
    random_groups.rollout([1], [1], invalid=[0]),
    random_groups.rollout([1], [2]),
  ]


# d(2) = 1, d(1) = 2, and 3 is unreachable: 2 + 1.
SPECIAL = {
  "hand": hand_groups.one_success_at_costs(),
  "failed": failed_group(),
  "seven alike": [random_groups.rollout([1, 2, 3], [2, 3, 0])] * 7,
} | random_groups.corner_groups_with_steps()
NUM_RANDOM = 150


@pytest.fixture(scope="module")
def groups():
  return [
    *(random_groups.random_group(seed) for seed in range(NUM_RANDOM)),
    *SPECIAL.values(),
  ]


@pytest.fixture(scope="module")
def found(groups):
  """All configurations on all groups: compiled once for the whole module."""
  return run(random_groups.stack([lay_out(group)[0] for group in groups]))


def special(found, name):
  """Results of one special group."""
  at = NUM_RANDOM + list(SPECIAL).index(name)
  return jax.tree.map(lambda leaf: leaf[at], found[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_the_oracle(name, groups, found):
  estimator, options = CONFIGS[name]
  options = dict(options)
  if options.pop("normalize", None) is not None:
    options["normalization"] = "mean"
  for at, group in enumerate(groups):
    columns = random_groups.table(group)
    expected = oracle.assign_credit(columns, estimator, **options)
    number = len(columns["t"])
    for field in FIELDS:
      actual = found[0][name][field][at]
      np.testing.assert_allclose(
        actual[:number],
        expected[field],
        rtol=1e-4,
        atol=1e-3,
        err_msg=f"group {at}, {field}",
      )
      assert not actual[number:].any(), f"group {at}, {field}: padding"


def test_step_distances_and_episode_advantage(groups, found):
  for at, group in enumerate(groups):
    columns = random_groups.table(group)
    expected = oracle.assign_credit(
      columns, unreachable_margin=2.0, invalid_penalty=0.0
    )
    number = len(columns["t"])
    for name, field in (
      ("here", "distance"),
      ("there", "next_distance"),
      ("episode", "episode_advantage"),
    ):
      np.testing.assert_allclose(
        found[1][name][at, :number], expected[field], rtol=1e-4, atol=1e-4
      )
      assert not found[1][name][at, number:].any()


# name: (what, values of the five steps of the hand group)
HAND = {
  "half": (
    ("distance", [2, 1, 2, 3, 2]),
    ("next_distance", [1, 0, 3, 3, 1]),
    ("step_return", [5, 10, 1.25, 1.25, 5]),
    # Mean 3.75, squares 1.5625 + 6.25 + 1.5625 over 2.
    ("step_advantage", [0.5773503, 0, -1.1547005, 0, 0.5773503]),
    # 10, 10, 0, 0, 0: mean 4, squares 120 over 4.
    (
      "episode_advantage",
      [1.0954451, 1.0954451, -0.7302967, -0.7302967, -0.7302967],
    ),
  ),
  "center": (
    ("step_advantage", [1.25, 0, -2.5, 0, 1.25]),
    ("episode_advantage", [6, 6, -4, -4, -4]),
    ("advantage", [7.25, 6, -6.5, -4, -2.75]),
  ),
  # Exponents 2, 1, 5, 4, 4.
  "cost": (
    ("step_return", [2.5, 5, 0.3125, 0.625, 0.625]),
    ("step_advantage", [1.3541667, 0, -0.8333333, 0, -0.5208333]),
  ),
  # Exponents 0, 0, 3, 1, 2, with the step's cost or without.
  "relative": (
    ("step_return", [10, 10, 1.25, 5, 2.5]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  "relative, cost": (
    ("step_return", [10, 10, 1.25, 5, 2.5]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  # State 1: exponents 1, 3, 1 less 1.
  "scale free": (
    ("step_return", [5, 10, 1.25, 1.25, 5]),
    ("step_advantage", [2.5, 0, -5, 0, 2.5]),
  ),
  # State 1: exponents 2, 5, 4 less 2: 10, 1.25, 2.5.
  "scale free, cost": (
    ("step_return", [2.5, 5, 0.3125, 0.625, 0.625]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  # Distinct edges of state 1: 5 and 1.25.
  "edges": (("step_advantage", [0.7071068, 0, -0.7071068, 0, 0.7071068]),),
  # Returns 10, 0, 0: mean 10/3, squares 200/3 over 2.
  "rollouts": (
    (
      "episode_advantage",
      [1.1547005, 1.1547005, -0.5773503, -0.5773503, -0.5773503],
    ),
  ),
  "margin": (
    ("distance", [2, 1, 2, 4, 2]),
    ("next_distance", [1, 0, 4, 4, 1]),
    ("step_return", [5, 10, 0.625, 0.625, 5]),
  ),
  # Scores 10, 10, 0, -.5, 0: mean 3.9.
  "penalty": (
    ("step_return", [5, 10, 1.25, 0.75, 5]),
    ("episode_advantage", [6.1, 6.1, -3.9, -4.4, -3.9]),
  ),
  "penalty, success": (
    ("step_return", [5, 10, 1.25, 0.75, 5]),
    ("episode_advantage", [6.1, 6.1, -3.9, -4.4, -3.9]),
  ),
  "weights": (
    ("step_return", [2, 4, 0.5, 0.5, 2]),
    ("step_advantage", [0.5, 0, -1, 0, 0.5]),
    ("advantage", [4, 3, -4, -2, -1]),
  ),
  "gigpo, center": (
    ("step_return", [5, 10, 0, 0, 0]),
    ("step_advantage", [3.3333333, 0, -1.6666667, 0, -1.6666667]),
    ("episode_advantage", [6, 6, -4, -4, -4]),
  ),
  "grpo, rollouts": (
    ("advantage", [6.6666667] * 2 + [-3.3333333] * 3),
    ("step_return", [0] * 5),
    ("step_advantage", [0] * 5),
  ),
  # The others' means: 0, 5, 5.
  "rloo": (
    ("episode_advantage", [10, 10, -5, -5.5, -5]),
    ("advantage", [20, 20, -10, -11, -10]),
  ),
}


@pytest.mark.parametrize("name", HAND)
def test_small_case(name, found):
  credit = special(found, "hand")[name]
  for field, values in HAND[name]:
    np.testing.assert_allclose(
      credit[field][:5], values, rtol=1e-5, atol=1e-6, err_msg=field
    )


def test_penalty_in_a_group_without_success(found):
  credit = special(found, "failed")
  # All distances are 1: returns 5 less the penalty.
  assert credit["penalty"].step_return[:2].tolist() == [4.5, 5.0]
  assert credit["penalty"].advantage[:2].tolist() == [-0.5, 0.5]
  assert credit["penalty, success"].step_return[:2].tolist() == [5.0, 5.0]
  assert not credit["penalty, success"].advantage.any()


def test_finite_everywhere(found):
  for leaf in jax.tree.leaves(found):
    assert np.all(np.isfinite(leaf))


def test_equal_steps_are_exactly_zero(found):
  for group in ("seven alike", "all succeed alike", "no success"):
    for name, credit in special(found, group).items():
      assert not credit.advantage.any(), (group, name)


def test_single_steps_are_exactly_zero(found):
  for group in ("one step", "one step, no success", "one rollout"):
    for name, credit in special(found, group).items():
      assert not credit.step_advantage.any(), (group, name)
  # The recipe: a task of one step in all has mean 0 and deviation 1.
  credit = special(found, "one step")
  np.testing.assert_allclose(
    credit["default"].episode_advantage[0], 10.0, rtol=1e-5
  )
  assert credit["rollouts"].episode_advantage[0] == 0.0
  assert credit["rloo"].episode_advantage[0] == 0.0


def test_nothing_valid_and_garbage_in_padding(groups):
  steps, _ = random_groups.batch(range(len(groups)), NUM_ENTRIES)
  rules.assert_padding_gets_nothing(run, steps)


def test_independent_of_layout_and_numbering(groups, found):
  rules.assert_independent_of_layout(
    lambda steps: run(steps)[0],
    groups,
    found[0],
    lay_out,
    num_nodes=NUM_NODES,
    rtol=1e-4,
    atol=1e-4,
  )
