import functools

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import estimators
from tests.credit import (
  configurations,
  hand_groups,
  random_groups,
  rules,
  transforms,
)

NUM_ENTRIES = 48
NUM_NODES = 12
FEW = ("graphhca", "crbc", "graft")


def lay_out(group):
  actions = random_groups.two_actions(group)
  return random_groups.lay_out(group, NUM_ENTRIES, actions=actions)[0]


@pytest.mark.parametrize("estimator", ["graphhca", "graft"])
def test_ties_by_rounding_earn_nothing(estimator):
  """1 leads to 2, 3, ..., 6, and they to 7, each as often as it is visited.

  (x + x + x) / 3 is not x in float32, but each is worth discount * V(7).
  """
  group = [random_groups.rollout([7], [8])] * 2
  for state, visits in ((2, 1), (3, 3), (4, 5), (5, 6), (6, 7)):
    one = random_groups.rollout([1, state, 7], [state, 7, 0])
    group += [one] * visits
  steps, _ = random_groups.lay_out(group, 128)
  credit, _, _ = jax.jit(
    functools.partial(
      estimators.credit_group,
      estimator=estimators.ESTIMATORS[estimator],
      max_nodes=NUM_NODES,
    )
  )(steps)
  at_one = steps.mask & (steps.source == 1)
  assert not credit.step_advantage[at_one].any()


def test_limits_leave_everything_finite():
  steps = lay_out(hand_groups.success_repeated())

  @jax.jit
  def limited(steps):
    return [
      estimators.credit_group(
        steps, estimators.ESTIMATORS[name], max_nodes=3, max_edges=4
      )
      for name in ("rewardflow", *FEW)
    ]

  for credit, graph, _ in limited(steps):
    assert graph.overflow > 0
    for leaf in jax.tree.leaves(credit):
      assert np.all(np.isfinite(leaf))


def test_no_gradient():
  steps = lay_out(hand_groups.one_success_of_three())

  def credit_of(cost, reward, episode_return, discount):
    given = steps.replace(
      cost=cost, reward=reward, episode_return=episode_return
    )
    return [
      estimators.credit_group(
        given,
        estimators.ESTIMATORS[name],
        max_nodes=NUM_NODES,
        discount=discount,
      )[0]
      for name in FEW
    ]

  rules.assert_no_gradient(
    credit_of, steps.cost, steps.reward, steps.episode_return, 0.9
  )


def few(steps):
  configs = {name: (name, {"invalid_penalty": 0.25}) for name in FEW}
  return configurations.credit_of_each(steps, configs, max_nodes=NUM_NODES)


def eight():
  groups = map(random_groups.random_group, range(transforms.NUM_DEVICES))
  return (random_groups.stack([lay_out(group) for group in groups]),)


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, *eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, few, eight(), expected, rtol=1e-3, atol=1e-3
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(
      self.variant, few, eight(), rtol=1e-3, atol=1e-3
    )


def test_traced_once():
  transforms.assert_traced_once(few, eight())
