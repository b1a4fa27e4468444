import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import backups
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import hand_groups, random_groups

NUM_ENTRIES = 48
METHODS = ("linear", "compressed", "sweeps")


def hand_steps():
  """One success of three; the edge 1 -> 2 costs 2."""
  group = hand_groups.one_success_of_three(costs=([2.0, 1.0], None, [2.0]))
  return random_groups.lay_out(group, NUM_ENTRIES)[0]


power_mean_values = jax.jit(
  backups.power_mean_values, static_argnames=("method", "use_costs")
)


@functools.partial(jax.jit, static_argnames="method")
def hand_values(steps, method):
  graph = graph_lib.build_graph(steps, max_nodes=4)
  value_of = functools.partial(
    backups.expected_values, discount=0.5, method=method
  )
  ended = backups.with_fail_sink(steps, max_nodes=4)
  third_twice = jnp.where(jnp.arange(NUM_ENTRIES) == 2, 2.0, 1.0)
  return (
    value_of(graph).value,
    value_of(graph, use_costs=True).value,
    value_of(graph, edge_weight=third_twice).value,
    value_of(ended, fail_value=-1.0).value,
    value_of(graph, state_reward=jnp.array([9.0, 1.0, 0.0, 3.0])).value,
    value_of(graph, edge_reward=jnp.arange(float(NUM_ENTRIES))).value,
  )


@pytest.mark.parametrize("method", METHODS)
def test_expected_values_by_hand(method):
  steps = hand_steps()
  plain, costs, weighted, ended, rewarded, paid = hand_values(steps, method)
  # V(2) = 1/2; V(3) = 1/2 V(3); V(1) = 1/2 (1/2 + 0 + 1/2) / 3.
  np.testing.assert_allclose(plain, [1, 1 / 6, 1 / 2, 0], atol=1e-6)
  # The edges 1 -> 2 at 1/4: V(1) = (1/8 + 0 + 1/8) / 3.
  np.testing.assert_allclose(costs, [1, 1 / 12, 1 / 2, 0], atol=1e-6)
  # The step 1 -> 3 counts twice: V(1) = 1/2 (1/2 + 0 + 0 + 1/2) / 4.
  np.testing.assert_allclose(weighted, [1, 1 / 8, 1 / 2, 0], atol=1e-6)
  # Third rollout 1 -> FAIL, second 3 -> FAIL: V(3) = -1/2 and
  # V(1) = 1/2 (1/2 - 1/2 - 1) / 3.
  np.testing.assert_allclose(ended, [1, -1 / 6, 1 / 2, -1 / 2, -1], atol=1e-6)
  # V(3) = 3 + 1/2 V(3) = 6; V(1) = 1 + 1/2 (1/2 + 6 + 1/2) / 3.
  np.testing.assert_allclose(rewarded, [1, 13 / 6, 1 / 2, 6], atol=1e-5)
  # Steps in order 1 -> 2, 2 -> SUCCESS, 1 -> 3, 3 -> 3, 1 -> 2 pay 0 to 4:
  # V(2) = 1 + 1/2; V(3) = 3 + 1/2 V(3) = 6; V(1) = (0 + 2 + 4) / 3 + 1/2 9 / 3.
  np.testing.assert_allclose(paid, [1, 7 / 2, 3 / 2, 6], atol=1e-5)


def test_power_means_and_maximum_by_hand():
  graph = graph_lib.build_graph(hand_steps(), max_nodes=4)
  for power, value in (
    (1.0, 1 / 6),
    (2.0, 0.5 * np.sqrt(1 / 6)),
    (np.inf, 0.25),
  ):
    found = power_mean_values(graph, discount=0.5, power=power)
    np.testing.assert_allclose(found.value, [1, value, 1 / 2, 0], rtol=1e-6)
  costly = power_mean_values(graph, discount=0.5, power=np.inf, use_costs=True)
  np.testing.assert_allclose(costly.value, [1, 1 / 8, 1 / 2, 0], rtol=1e-6)
  found = backups.decayed_max(
    graph, discount=0.5, state_reward=jnp.array([0.0, 0.0, 0.0, 3.0])
  )
  assert found.tolist() == [1.0, 1.5, 0.5, 3.0]


def test_large_powers_neither_under_nor_overflow():
  """V(1) = .5^100; (V^50) would be 2^-5000."""
  length = 100
  line = np.arange(1, length + 1)
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout(line, np.append(line[1:], 0)),
      random_groups.rollout(line[:-1], line[1:]),
      random_groups.rollout(line[:1], line[:1]),
    ],
    256,
  )
  graph = graph_lib.build_graph(steps, max_nodes=128)
  for power in (1.0, 50.0, 1e6, np.inf):
    found = power_mean_values(graph, discount=0.5, power=power)
    level = np.log2(np.asarray(found.value)[1 : length + 1])
    # At 1 a third of the steps stays where it is.
    stays = 0.0 if np.isinf(power) else np.log2(2 / 3) / power
    np.testing.assert_allclose(level[1:], -(length + 1.0 - line[1:]), rtol=1e-5)
    assert -length + stays - 1e-3 < level[0] < -length + 1e-3


def test_with_fail_sink():
  steps = hand_steps()
  ended = backups.with_fail_sink(steps, max_nodes=4)
  assert ended.source[:5].tolist() == [1, 2, 1, 3, 1]
  assert ended.target[:5].tolist() == [2, 0, 3, 4, 4]
  assert ended.node_mask.tolist() == [True] * 5
  # Past the limit of nodes: FAIL has no double there.
  ended = backups.with_fail_sink(steps, max_nodes=3)
  assert ended.mask[:5].tolist() == [True, True, False, False, True]
  assert ended.target[4] == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_that_is_never_left_is_worth_nothing_without_discount(method):
  """Discount 1: 1 and 2 lead to each other and to themselves, 3 succeeds."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 2, 1, 1, 2, 2], [2, 1, 1, 2, 2, 1]),
      random_groups.rollout([3, 3, 3], [3, 3, 0]),
    ],
    NUM_ENTRIES,
  )
  graph = graph_lib.build_graph(steps, max_nodes=4)
  found = backups.expected_values(graph, discount=1.0, method=method)
  np.testing.assert_allclose(found.value, [1, 0, 0, 1], atol=2e-5)


def test_unknown_methods_are_refused():
  graph = graph_lib.build_graph(hand_steps(), max_nodes=4)
  with pytest.raises(ValueError, match="linear, compressed, sweeps, got 'lu'"):
    backups.expected_values(graph, discount=0.5, method="lu")
