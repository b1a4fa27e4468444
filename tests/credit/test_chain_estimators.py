import math

import jax
import numpy as np
import pytest

from graphgpo_jax.credit import estimators, normalize
from tests import oracle
from tests.credit import (
  chain_estimator_oracle,
  configurations,
  hand_groups,
  random_groups,
  rules,
  transforms,
)

NUM_ENTRIES = 48
NUM_NODES = 12
NUM_RANDOM = 100
CENTER = {"normalize": normalize.mean_only}
HALF = {"discount": 0.5}
CONFIGS = {
  "rewardflow": ("rewardflow", {}),
  "rewardflow, center": (
    "rewardflow",
    HALF | CENTER | {"success_reward": 4.0, "step_weight": 2.0},
  ),
  "graphhca": ("graphhca", {}),
  "graphhca, center": ("graphhca", HALF | CENTER | {"invalid_penalty": 0.0}),
  "graphhca, 2": ("graphhca", HALF | CENTER | {"power": 2.0, "floor": 0.1}),
  "graphhca, shortest": (
    "graphhca",
    HALF | CENTER | {"power": math.inf, "use_costs": True},
  ),
  "crbc": ("crbc", {}),
  "crbc, half": ("crbc", HALF | {"step_weight": 1.0}),
  "crbc, sample": (
    "crbc",
    {"fail_value": 0.0, "floor": 0.01, "sample_deviation": True},
  ),
  "crbc, no actions": ("crbc", HALF | {"fail_value": -0.5}),
  "graft": ("graft", {}),
  "graft, center": ("graft", HALF | CENTER | {"gae_lambda": 0.5}),
  "graft, own": ("graft", HALF | CENTER | {"gae_lambda": 0.0}),
  "graft, visits": (
    "graft",
    HALF
    | CENTER
    | {
      "visit_weighted_hops": True,
      "success_reward": 3.0,
      "fail_value": -1.0,
      "episode_weight": 0.5,
    },
  ),
}
CONFIGS = {
  name: (estimator, {"invalid_penalty": 0.25} | options)
  for name, (estimator, options) in CONFIGS.items()
}


def everything(steps):
  return configurations.credit_of_each(steps, CONFIGS, max_nodes=NUM_NODES)


run = transforms.over_groups(everything)


def lay_out(group, **options):
  actions = random_groups.two_actions(group)
  return random_groups.lay_out(group, NUM_ENTRIES, actions=actions, **options)


SPECIAL = {
  "hand": hand_groups.one_success_of_three(),
  "repeated": hand_groups.success_repeated(),
  "seven alike": [random_groups.rollout([1, 2, 3], [2, 3, 0])] * 7,
} | random_groups.corner_groups_with_steps()


@pytest.fixture(scope="module")
def groups():
  return [
    random_groups.random_group(seed, kind=("unit", "integer")[seed % 2])
    for seed in range(NUM_RANDOM)
  ] + list(SPECIAL.values())


@pytest.fixture(scope="module")
def steps(groups):
  return random_groups.stack([lay_out(group)[0] for group in groups])


@pytest.fixture(scope="module")
def found(steps):
  """All configurations on all groups: compiled once for the whole module."""
  return run(steps)


def special(found, name):
  at = NUM_RANDOM + list(SPECIAL).index(name)
  return jax.tree.map(lambda leaf: leaf[at], found)


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_the_oracle(name, groups, found):
  estimator, options = CONFIGS[name]
  options = dict(options)
  step_weight, episode_weight = chain_estimator_oracle.WEIGHTS[estimator]
  step_weight = options.pop("step_weight", step_weight)
  episode_weight = options.pop("episode_weight", episode_weight)
  kind = "mean" if options.pop("normalize", None) else "mean_std"
  penalty = options.pop("invalid_penalty")
  if estimator != "crbc":
    options |= {"penalty": penalty, "kind": kind}
  for at, group in enumerate(groups):
    actions = random_groups.two_actions(group)
    oracle_group = chain_estimator_oracle.Group(
      group, actions if configurations.has_actions(name) else None
    )
    signal, part = chain_estimator_oracle.ORACLES[estimator](
      oracle_group, **options
    )
    number = len(signal)
    credit = jax.tree.map(lambda leaf, at=at: leaf[at], found[name])
    message = f"group {at}"
    np.testing.assert_allclose(
      credit.step_return[:number], signal, atol=1e-4, err_msg=message
    )
    np.testing.assert_allclose(
      credit.step_advantage[:number],
      part,
      rtol=1e-3,
      atol=2e-3,
      err_msg=message,
    )
    episode = oracle.assign_credit(
      oracle_group.columns,
      "grpo",
      normalization=kind,
      invalid_penalty=penalty,
    )["episode_advantage"]
    np.testing.assert_allclose(
      credit.advantage[:number],
      step_weight * credit.step_advantage[:number]
      + episode_weight * np.array(episode),
      rtol=1e-3,
      atol=1e-3,
      err_msg=message,
    )
    for leaf in jax.tree.leaves(credit):
      assert not leaf[number:].any()


def test_rewardflow_by_hand(found):
  """discount 1/2 from 4: V(2) = 2, V(1) = 1, V(3) = 0."""
  credit = special(found, "hand")["rewardflow, center"]
  assert credit.step_return[:5].tolist() == [1, 2, -1, 0, 1]
  np.testing.assert_allclose(
    credit.step_advantage[:5], [2 / 3, 0, -4 / 3, 0, 2 / 3], rtol=1e-5
  )


def test_graphhca_by_hand(found):
  """Phi(2) = 1/2, Phi(3) = 0 and Phi(1) = 1/2 (1/2 + 0 + 1/2) / 3 = 1/6."""
  credit = special(found, "hand")["graphhca, center"]
  three, half, lost = math.log(3), math.log(2), math.log(0.06)
  np.testing.assert_allclose(
    credit.step_return[:5], [three, half, lost, 0, three], rtol=1e-5
  )
  mean = (2 * three + lost) / 3
  np.testing.assert_allclose(
    credit.step_advantage[:5],
    [three - mean, 0, lost - mean, 0, three - mean],
    rtol=1e-4,
  )
  # Power 2: Phi(1)^2 = 1/4 (1/4 + 0 + 1/4) / 3 = 1/24; the floor is 1/10.
  credit = special(found, "hand")["graphhca, 2"]
  near, far = math.log(12) / 2 - math.log(math.sqrt(2)), math.log(0.01 * 24) / 2
  np.testing.assert_allclose(
    credit.step_return[:5], [near, half, far, 0, near], rtol=1e-5
  )
  # The shortest way: Phi(1) = 1/4.
  credit = special(found, "hand")["graphhca, shortest"]
  np.testing.assert_allclose(
    credit.step_return[:5], [half, half, math.log(0.04), 0, half], rtol=1e-5
  )


def test_crbc_by_hand(found):
  """FAIL is -1/2: V(2) = 1/2, V(3) = -1/4, V(1) = 1/2 (1/2 - 1/4 - 1/2) / 3.

  The steps 1 -> 2 of the first rollout and of the last, which fails there, are
  one action: its Q = 1/2 (1/2 - 1/2) / 2 = 0, that of 1 -> 3 is -1/8.
  """
  credit = special(found, "hand")["crbc, no actions"]
  np.testing.assert_allclose(
    credit.step_return[:5],
    [1 / 24, 0, -1 / 12, 0, 1 / 24],
    atol=1e-6,
  )
  # Their deviation, 0.059, is under the floor of 0.1.
  np.testing.assert_allclose(
    credit.step_advantage[:5], [5 / 12, 0, -5 / 6, 0, 5 / 12], rtol=1e-4
  )


def test_crbc_compares_actions():
  """One action led from 1 to 2 and to 3, another to 2: and one alone is 0."""
  group = [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [3, 0]),
    random_groups.rollout([1], [2]),
  ]
  steps, places = random_groups.lay_out(group, NUM_ENTRIES)
  action = np.zeros(NUM_ENTRIES, np.int32)
  action[places[2]] = 1

  @jax.jit
  def credit_of(action):
    return estimators.credit_group(
      steps.replace(action=action),
      estimators.crbc,
      max_nodes=NUM_NODES,
      discount=0.5,
      floor=1e-3,
    )[0]

  # V(2) = 1/2, V(3) = 0: the first action is worth 1/2 (1/2 + 0) / 2 = 1/8, the
  # second -1/2. Mean -1/12, deviations 5/24, 5/24, -5/12 over 0.2946.
  credit = credit_of(action)
  rows = np.concatenate(places)
  sigma = math.sqrt((2 * (5 / 24) ** 2 + (5 / 12) ** 2) / 3)
  np.testing.assert_allclose(
    credit.step_advantage[rows],
    np.array([5 / 24, 0, 5 / 24, 0, -5 / 12]) / sigma,
    rtol=1e-4,
  )
  assert not credit_of(np.zeros_like(action)).step_advantage.any()


def test_graft_by_hand(found):
  """discount 1/2: V(2) = 1/2, V(1) = 1/2 (3/2 + 0) / 4 = 3/16, V(4) = 3/32.

  TD errors 1/16 (1 -> 2), -3/16 (1 -> FAIL), 0 (2 and 4). Over distinct edges
  G(1) = (1/16 - 3/16) / 2 = -1/16, so 4 -> 1 gets 1/4 of that.
  """
  credit = special(found, "repeated")["graft, center"]
  rows = [1 / 16, 0, 1 / 16, 0, -1 / 64, 1 / 16, 0, -3 / 16]
  np.testing.assert_allclose(credit.step_return[:8], rows, atol=1e-6)
  np.testing.assert_allclose(
    credit.step_advantage[:8],
    [1 / 16, 0, 1 / 16, 0, 0, 1 / 16, 0, -3 / 16],
    atol=1e-6,
  )
  rows[4] = 0.0
  own = special(found, "repeated")["graft, own"]
  np.testing.assert_allclose(own.step_return[:8], rows, atol=1e-6)


def test_equal_steps_are_exactly_zero(found):
  for group in ("seven alike", "all succeed alike"):
    for name, credit in special(found, group).items():
      assert not credit.advantage.any(), (group, name)


def test_groups_without_success_have_no_progress(found):
  for name, credit in special(found, "no success").items():
    if not name.startswith(("crbc", "graft, visits")):
      assert not credit.advantage.any(), name


def test_finite_everywhere_and_nothing_from_padding(steps, found):
  for leaf in jax.tree.leaves(found):
    assert np.all(np.isfinite(leaf))
  rules.assert_padding_gets_nothing(run, steps)


def test_independent_of_layout_and_numbering(groups, found):
  rules.assert_independent_of_layout(
    run, groups, found, lay_out, num_nodes=NUM_NODES, rtol=2e-3, atol=2e-3
  )
