"""Estimators that no other file runs in every way a caller may run them."""

import chex
import jax
import pytest

from graphgpo_jax.credit import distances, estimators
from tests.credit import (
  hand_groups,
  random_groups,
  rules,
  test_chain_estimator_rules,
  test_estimator_rules,
  test_return_estimators,
  transforms,
)

NUM_ENTRIES = 48
NUM_NODES = 12
FEW = ("g2po", "pgpo", "salt", "rewardflow", "grpo", "tigpo")


def lay_out(group):
  actions = random_groups.two_actions(group)
  return random_groups.lay_out(group, NUM_ENTRIES, actions=actions)[0]


def few(steps, past_scores, past_mask):
  """Credit of each; tigpo's beside an earlier visit."""
  memory = {"past_scores": past_scores, "past_mask": past_mask}
  return {
    name: estimators.credit_group(
      steps,
      estimators.ESTIMATORS[name],
      max_nodes=NUM_NODES,
      backup=distances.edge_distances,
      invalid_penalty=0.25,
      **(memory if name == "tigpo" else {}),
    )[0]
    for name in FEW
  }


def eight():
  """Steps of eight tasks, each with the scores of another group's visit."""
  number = transforms.NUM_DEVICES
  steps, earlier = (
    random_groups.stack(
      [lay_out(random_groups.random_group(seed)) for seed in seeds]
    )
    for seeds in (range(number), range(number, 2 * number))
  )
  return steps, *jax.jit(jax.vmap(estimators.frozen_scores))(earlier)


def test_every_estimator_is_run_in_every_way():
  others = {
    test_return_estimators.CONFIGS[name][0]
    for name in test_return_estimators.FEW
  }
  others |= set(test_estimator_rules.CONFIGS)
  others |= set(test_chain_estimator_rules.FEW)
  assert others.isdisjoint(FEW)
  assert others | set(FEW) == set(estimators.ESTIMATORS)


def test_no_gradient():
  steps = lay_out(hand_groups.one_success_of_three())
  past_scores, past_mask = estimators.frozen_scores(steps)

  def credit_of(cost, reward, episode_return, past_scores):
    given = steps.replace(
      cost=cost, reward=reward, episode_return=episode_return
    )
    return few(given, past_scores, past_mask)

  rules.assert_no_gradient(
    credit_of, steps.cost, steps.reward, steps.episode_return, past_scores
  )


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, *eight())


def test_each_has_something_to_lose(expected):
  for name, credit in expected.items():
    assert (abs(credit.advantage) > 0.1).any(), name


# It has vmap and jit within it.
FAST = ("shard_map",)


@pytest.mark.parametrize(
  "transform",
  [
    pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)
    for name in transforms.TRANSFORMS
  ],
)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, few, eight(), expected, rtol=1e-4, atol=1e-4
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
