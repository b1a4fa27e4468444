"""Worth of states by observed returns, and signals that compare two states."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import potentials, signals
from tests.credit import random_groups, transforms

NUM_ENTRIES = 48
NUM_NODES = 12

mean = jax.jit(potentials.segment_mean, static_argnames="num_segments")


def test_segment_mean_equals_exact_sums():
  rng = np.random.default_rng(0)
  for scale in (1e-3, 1.0, 1e6):
    values = (rng.normal(size=500) * scale + 10.0).astype(np.float32)
    segment = rng.integers(-1, 12, 500).astype(np.int32)
    mask = rng.random(500) < 0.8
    values[~mask] = np.nan
    found = mean(values, segment, mask, num_segments=11)
    for place in range(11):
      inside = values[mask & (segment == place)].astype(float)
      expected = math.fsum(inside) / len(inside) if len(inside) else 0.0
      spread = np.ptp(inside) if len(inside) else 0.0
      assert abs(found[place] - expected) <= 2e-7 * (spread + abs(expected))


@pytest.mark.parametrize("number", [40, 4000, 9000])
def test_segment_mean_does_not_depend_on_the_order(number):
  rng = np.random.default_rng(1)
  values = rng.choice([0.1, 10.0 / 3.0, 7.7, 1e-4], number).astype(np.float32)
  segment, everywhere = np.zeros(number, np.int32), np.ones(number, bool)
  found = {
    mean(rng.permutation(values), segment, everywhere, num_segments=2).tobytes()
    for _ in range(5)
  }
  assert len(found) == 1
  equal = np.full(number, np.float32(10.0 / 3.0))
  assert mean(equal, segment, everywhere, num_segments=2)[0] == equal[0]


def test_segment_of_nothing_has_the_mean_0():
  values, nowhere = np.full(4, np.nan, np.float32), np.zeros(4, bool)
  found = mean(values, np.zeros(4, np.int32), nowhere, num_segments=1)
  assert found.tolist() == [0.0]


def hand_steps():
  """1 -> 2 -> SUCCESS, return 8; 1 -> 2 -> 1 -> 3, return -1."""
  return random_groups.lay_out(
    [
      random_groups.rollout([1, 2], [2, 0], reward=[0, 8]),
      random_groups.rollout([1, 2, 1], [2, 1, 3], reward=[0, -1, 0]),
    ],
    8,
    rng=np.random.default_rng(0),
  )


def test_small_case():
  steps, places = hand_steps()
  place = np.concatenate(places)
  outcome = potentials.outcome_to_go(steps, discount=0.5)
  assert outcome[place].tolist() == [2, 4, -0.125, -0.25, -0.5]
  assert not outcome[~steps.mask].any()
  value = potentials.mean_of_state(steps, outcome, max_nodes=5)
  np.testing.assert_allclose(value, [0, 1.375 / 3, 1.875, 0, 0])
  # The ends count: 8 for SUCCESS, -1 for state 3.
  phi = potentials.mean_outcome(steps, max_nodes=5)
  np.testing.assert_allclose(phi, [8, 2, 3.5, -1, 0])
  phi = potentials.mean_outcome(steps, max_nodes=5, discount=0.5)
  np.testing.assert_allclose(phi, [8, 1.375 / 3, 1.875, -1, 0])


def test_worth_at_the_ends_of_steps():
  steps, places = hand_steps()
  place = np.concatenate(places)
  potential = jnp.asarray([9.0, 1.0, 2.0, 3.0])
  here, there = potentials.at_ends_of_steps(steps, potential)
  assert here[place].tolist() == [1, 2, 1, 2, 1]
  assert there[place].tolist() == [2, 9, 2, 1, 3]
  _, there = potentials.at_ends_of_steps(
    steps, potential, success_value=5.0, fail_value=-4.0
  )
  assert there[place].tolist() == [2, 5, 2, 1, -4]
  here, there = potentials.at_ends_of_steps(steps, potential[:2], unknown=7.0)
  assert here[place].tolist() == [1, 7, 1, 7, 1]
  assert there[place].tolist() == [7, 9, 7, 1, 7]
  assert not here[~steps.mask].any() and not there[~steps.mask].any()


def test_signals_of_two_states():
  here, there = jnp.asarray([1.0, 0.5, 0.0]), jnp.asarray([2.0, 0.25, 0.001])
  np.testing.assert_allclose(signals.difference(here, there), [1, -0.25, 0.001])
  np.testing.assert_allclose(
    signals.log_difference(here, there), [math.log(2), -math.log(2), 0.0]
  )
  np.testing.assert_allclose(
    signals.log_difference(here, there, floor=0.5), [math.log(2), 0.0, 0.0]
  )


def test_td_error_and_generalized_advantage():
  # Rollouts of three steps and of one, then padding.
  reward = jnp.asarray([0.0, 1.0, 2.0, 4.0, np.nan])
  here = jnp.asarray([1.0, 2.0, 3.0, 4.0, np.nan])
  there = jnp.asarray([2.0, 3.0, 0.0, 0.0, np.nan])
  last = jnp.asarray([False, False, True, True, False])
  mask = jnp.asarray([True, True, True, True, False])
  error = signals.td_error(reward, here, there, mask, discount=0.5)
  assert error.tolist() == [0.0, 0.5, -1.0, 0.0, 0.0]

  def advantage(discount, gae_lambda):
    return signals.generalized_advantage(
      error, last, mask, discount=discount, gae_lambda=gae_lambda
    ).tolist()

  assert advantage(0.5, 0.0) == error.tolist()
  assert advantage(0.5, 0.5) == [0.0625, 0.25, -1.0, 0.0, 0.0]
  assert advantage(1.0, 1.0) == [-0.5, -0.5, -1.0, 0.0, 0.0]


def test_td_error_of_rounding_alone_is_0():
  """A chain of discounted values: V(s) = g V(s') but for float32."""
  value = np.float32(10.0 / 3.0) * np.float32(0.95) ** np.arange(30, -1, -1)
  value = value.astype(np.float32)
  arguments = np.zeros(30, np.float32), value[:-1], value[1:], np.ones(30, bool)
  assert np.asarray(arguments[2] * np.float32(0.95) != arguments[1]).any()
  assert not signals.td_error(*arguments, discount=0.95).any()
  coarse = signals.td_error(*arguments, discount=0.9499)
  assert np.asarray(coarse).all()


def everything(steps):
  value = potentials.mean_of_state(
    steps,
    potentials.outcome_to_go(steps, discount=0.9),
    max_nodes=NUM_NODES,
  )
  here, there = potentials.at_ends_of_steps(
    steps, value, success_value=10.0, fail_value=0.0
  )
  error = signals.td_error(steps.reward, here, there, steps.mask, discount=0.9)
  return {
    "value": value,
    "outcome": potentials.mean_outcome(steps, max_nodes=NUM_NODES),
    "gain": signals.difference(here, there),
    "log": signals.log_difference(here, there),
    "advantage": signals.generalized_advantage(error, steps.last, steps.mask),
  }


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  groups = random_groups.batch(range(8), NUM_ENTRIES)[0]
  found = transforms.TRANSFORMS[transform](everything)(groups)
  transforms.assert_same(
    found, transforms.reference(everything, groups), rtol=1e-5, atol=1e-5
  )


def test_finite_and_zero_in_padding():
  steps, _ = random_groups.corner_steps(NUM_ENTRIES)
  found = jax.jit(jax.vmap(everything))(steps)
  for name, leaf in found.items():
    assert np.all(np.isfinite(leaf)), name
    if leaf.shape == steps.mask.shape:
      assert not leaf[~steps.mask].any(), name


def test_no_gradient_and_traced_once():
  groups = random_groups.batch(range(3), NUM_ENTRIES)[0]
  transforms.assert_traced_once(everything, (groups,))
  steps = jax.tree.map(lambda leaf: leaf[0], groups)

  def total(reward, episode_return):
    given = steps.replace(reward=reward, episode_return=episode_return)
    return sum(jnp.sum(leaf) for leaf in everything(given).values())

  for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(
    steps.reward, steps.episode_return
  ):
    assert not gradient.any()
