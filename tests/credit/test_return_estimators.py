"""hgpo, g2po, pgpo, gagpo and salt: the oracle, hand-computed graphs, rules."""

import functools

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import estimators, normalize
from tests import family_oracle
from tests.credit import configurations, random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
NUM_RANDOM = 120
FIELDS = ("step_return", "step_advantage", "episode_advantage", "advantage")

# Half as discount: sums and powers that float32 holds exactly.
HALF = {"discount": 0.5}
CENTER = {"normalize": normalize.mean_only}
CENTER_ALL = CENTER | {"history_normalize": normalize.mean_only}
# A deviation that is rounding alone must not decide a comparison with float64.
SOFT = functools.partial(normalize.mean_std, epsilon=1e-3)
SOFT_POPULATION = functools.partial(SOFT, ddof=0)
BOTH = {"step_weight": 2.0, "episode_weight": 0.5}
CONFIGS = {
  "hgpo": (
    "hgpo",
    HALF
    | BOTH
    | {"normalize": SOFT, "history_normalize": SOFT_POPULATION}
    | {"history_alpha": 2.0, "penalty_only_with_success": True},
  ),
  "hgpo, base": (
    "hgpo",
    HALF | CENTER_ALL | {"episode_base": True, "history_length": 1},
  ),
  "hgpo, no history": ("hgpo", HALF | CENTER_ALL | {"history_length": 0}),
  "g2po": ("g2po", HALF | BOTH | {"normalize": SOFT}),
  "g2po, center": (
    "g2po",
    HALF | CENTER | {"success_reward": 8.0, "fail_value": -1.0},
  ),
  "pgpo": (
    "pgpo",
    HALF | BOTH | {"normalize": SOFT, "alpha": 1.0, "potential_discount": 0.5},
  ),
  "pgpo, center": ("pgpo", HALF | CENTER | {"potential_weight": 9.0}),
  "gagpo": (
    "gagpo",
    BOTH | {"normalize": SOFT, "discount": 1.0, "gae_lambda": 1.0},
  ),
  "gagpo, center": ("gagpo", HALF | CENTER | {"gae_lambda": 0.5}),
  "salt": ("salt", BOTH | {"normalize": SOFT, "per_rollout": True}),
  "salt, center": ("salt", CENTER),
  "salt, no actions": ("salt", CENTER),
}
CONFIGS = {
  name: (estimator, {"invalid_penalty": 0.5} | options)
  for name, (estimator, options) in CONFIGS.items()
}


def credit_of(names, steps, *, max_nodes=NUM_NODES):
  return configurations.credit_of_each(
    steps, {name: CONFIGS[name] for name in names}, max_nodes=max_nodes
  )


everything = functools.partial(credit_of, tuple(CONFIGS))
run = transforms.over_groups(everything)


def lay_out(group, **options):
  """Steps with actions: drawn from two, so that edges are split."""
  actions = actions_of(group)
  return random_groups.lay_out(group, NUM_ENTRIES, actions=actions, **options)


def actions_of(group):
  if len(group[0]["source"]) == 2:
    return [np.arange(len(one["source"])) % 2 for one in group]
  rng = np.random.default_rng(len(group[0]["source"]))
  return [rng.integers(0, 2, len(one["source"])) for one in group]


def value_group():
  """States 1, 2, 3; one success in three rollouts.

  1 -> 2 -> SUCCESS, return 8; 1 -> 3 -> 1, the second action invalid, and
  1 -> 2 -> 3, both return 0. Steps a0 a1 b0 b1 c0 c1.
  """
  return [
    random_groups.rollout([1, 2], [2, 0], reward=[0, 8]),
    random_groups.rollout([1, 3], [3, 1], invalid=[1]),
    random_groups.rollout([1, 2], [2, 3]),
  ]


def history_group():
  """1 -> 2 -> SUCCESS, return 8; 1 -> 2 -> 3 and 3 -> 2 -> 1, return 0."""
  return [
    random_groups.rollout([1, 2], [2, 0], reward=[0, 8]),
    random_groups.rollout([1, 2], [2, 3]),
    random_groups.rollout([3, 2], [2, 1]),
  ]


SPECIAL = {"values": value_group(), "histories": history_group()} | (
  random_groups.corner_groups_with_steps()
)


@pytest.fixture(scope="module")
def groups():
  return [
    *(random_groups.random_group(seed) for seed in range(NUM_RANDOM)),
    *SPECIAL.values(),
  ]


@pytest.fixture(scope="module")
def steps(groups):
  return random_groups.stack([lay_out(group)[0] for group in groups])


@pytest.fixture(scope="module")
def found(steps):
  """All configurations on all groups: compiled once for the whole module."""
  return run(steps)


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_the_oracle(name, groups, found):
  estimator, options = CONFIGS[name]
  options = dict(options)
  center = options.pop("normalize") is normalize.mean_only
  options.pop("history_normalize", None)
  options |= {"normalization": "mean"} if center else {"epsilon": 1e-3}
  for at, group in enumerate(groups):
    columns = random_groups.table(group)
    if configurations.has_actions(name):
      columns["action"] = np.concatenate(actions_of(group)).tolist()
    expected = family_oracle.assign_credit(columns, estimator, **options)
    number = len(columns["t"])
    for field in FIELDS:
      actual = found[name][field][at]
      np.testing.assert_allclose(
        actual[:number],
        expected[field],
        rtol=1e-4,
        atol=2e-4,
        err_msg=f"group {at}, {field}",
      )
      assert not actual[number:].any(), f"group {at}, {field}: padding"


# Configuration: group and what its steps a0 a1 b0 b1 c0 c1 get; discount 1/2,
# penalty 1/2, differences from the mean.
OUTCOME = [65 / 12, 65 / 12, -31 / 12, -37 / 12, -31 / 12, -31 / 12]
HAND = {
  # V = 2/3, 2, 0 and V(FAIL) = -1: V(s') = 2, 8, 0, -1, 2, -1 from the states
  # 1, 2, 1, 3, 1, 2; gains 4/3, 6, -2/3, -1, 4/3, -3, of mean 2/3.
  "g2po, center": (
    "values",
    {
      "step_return": [2, 8, 0, -1.5, 2, -1],
      "step_advantage": [4 / 3, 59 / 6, -8 / 3, -5 / 3, 4 / 3, -49 / 6],
      "episode_advantage": OUTCOME,
      "advantage": [81 / 12, 183 / 12, -63 / 12, -57 / 12, -1.25, -129 / 12],
    },
  ),
  # Returns 4, 8, 0, -1/2, 0, 0. Phi = 2 (four visits), 4, 0 and 8 at SUCCESS.
  # One of three rollouts succeeded: 9 * (2/3)^2 = 4.
  "pgpo, center": (
    "values",
    {
      "step_return": [2, 4, -2, 2, 2, -4],
      "step_advantage": [8, 20, -12, 0, 4, -20],
      "advantage": [8, 20, -12, 0, 4, -20],
    },
  ),
  # V = 4/3, 4, 0; errors 2/3, 4, -4/3, 0, 2/3, -4; the mean is -1/12.
  "gagpo, center": (
    "values",
    {
      "step_return": [5 / 3, 4, -4 / 3, -0.5, -1 / 3, -4],
      "advantage": [1.75, 49 / 12, -1.25, -5 / 12, -0.25, -47 / 12],
    },
  ),
  # a0 and c0 are the same step with the same action.
  "salt, center": (
    "values",
    {
      "step_return": OUTCOME,
      "advantage": [17 / 12, 65 / 12, -31 / 12, -37 / 12, 17 / 12, -31 / 12],
    },
  ),
  # Returns 4, 8, 0 ...: state 1 gives 2, -2; state 2 16/3, -8/3, -8/3.
  "hgpo, no history": (
    "histories",
    {
      "step_return": [4, 8, 0, 0, 0, 0],
      "advantage": [2, 16 / 3, -2, -8 / 3, 0, -8 / 3],
    },
  ),
  # The states 1, 2 give 4, -4, the rollouts 16/3, -8/3, -8/3: weights 2, 3, 1.
  "hgpo, base": (
    "histories",
    {"advantage": [28 / 9, 14 / 3, -20 / 9, -10 / 3, -8 / 3, -8 / 3]},
  ),
}


@pytest.mark.parametrize("name", HAND)
def test_small_case(name, found):
  group, expected = HAND[name]
  at = NUM_RANDOM + list(SPECIAL).index(group)
  for field, values in expected.items():
    np.testing.assert_allclose(
      found[name][field][at, :6], values, rtol=1e-5, atol=1e-5, err_msg=field
    )


def test_gigpo_is_hgpo_without_history(steps, found):
  """One state each, and differences from the mean: the same comparison."""
  options = HALF | CENTER | {"episode_weight": 0.0, "invalid_penalty": 0.5}
  gigpo = jax.jit(
    lambda batch: jax.lax.map(
      lambda steps: (
        estimators.credit_group(
          steps, estimators.gigpo, max_nodes=NUM_NODES, **options
        )[0].advantage
      ),
      batch,
    )
  )(steps)
  np.testing.assert_allclose(
    found["hgpo, no history"].advantage, gigpo, rtol=1e-4, atol=1e-4
  )


def test_finite_everywhere(found):
  for leaf in jax.tree.leaves(found):
    assert np.all(np.isfinite(leaf))


def test_nothing_valid_and_garbage_in_padding(steps):
  rules.assert_padding_gets_nothing(run, steps)


def test_independent_of_layout_and_numbering(groups, found):
  def lay_out_renamed(group, *, order, rng):
    names = rng.permutation(1000)[:2]
    actions = [names[chosen] for chosen in actions_of(group)]
    return random_groups.lay_out(
      group, NUM_ENTRIES, actions=actions, order=order, rng=rng
    )

  rules.assert_independent_of_layout(
    run,
    groups,
    found,
    lay_out_renamed,
    num_nodes=NUM_NODES,
    rtol=1e-4,
    atol=1e-4,
  )


def test_what_has_no_node_is_compared_with_nothing():
  """States past the limit: finite, and no history or value of their own."""
  steps, _ = lay_out(history_group())
  names = ("hgpo, no history", "salt, center")
  found = jax.jit(functools.partial(credit_of, names, max_nodes=2))(steps)
  for leaf in jax.tree.leaves(found):
    assert np.all(np.isfinite(leaf))
  # State 1 is the one that has a node; no edge has two.
  assert not found["hgpo, no history"].advantage[1::2].any()
  assert found["hgpo, no history"].advantage[:3:2].all()
  np.testing.assert_array_equal(
    found["salt, center"].advantage, found["salt, center"].episode_advantage
  )


def test_history_length_below_zero_is_refused():
  steps, _ = lay_out(value_group())
  with pytest.raises(ValueError, match="history_length must be at least 0"):
    estimators.credit_group(
      steps, estimators.hgpo, max_nodes=NUM_NODES, history_length=-1
    )


FEW = ("hgpo, base", "gagpo, center")


def few(steps):
  return credit_of(FEW, steps)


def test_no_gradient():
  steps, _ = lay_out(value_group())

  def few_of(reward, episode_return):
    return few(steps.replace(reward=reward, episode_return=episode_return))

  rules.assert_no_gradient(few_of, steps.reward, steps.episode_return)


@functools.cache
def eight():
  groups = map(random_groups.random_group, range(transforms.NUM_DEVICES))
  return (random_groups.stack([lay_out(group)[0] for group in groups]),)


@functools.cache
def expected():
  return transforms.reference(few, *eight())


# All else here runs under lax.map.
FAST = ("vmap", "shard_map")


@pytest.mark.parametrize(
  "transform",
  [
    pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
    for name in transforms.TRANSFORMS
  ],
)
def test_same_under(transform):
  rules.assert_same_under(
    transform, few, eight(), expected(), rtol=1e-4, atol=1e-4
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(
      self.variant, few, eight(), rtol=1e-4, atol=1e-4
    )


def test_traced_once():
  transforms.assert_traced_once(few, eight())
