import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import distances, estimators, normalize
from tests.credit import hand_groups, random_groups

NUM_ENTRIES = 48
NUM_NODES = 12


@functools.partial(jax.jit, static_argnames=("estimator", "options"))
def jitted_credit(steps, estimator, options):
  return estimators.credit_group(
    steps,
    estimator,
    max_nodes=NUM_NODES,
    backup=distances.edge_distances,
    **dict(options),
  )[0]


def credit_of(group, estimator, order=None, **options):
  """Credit of a group, in the order its rollouts have in `group`."""
  steps, places = random_groups.lay_out(group, NUM_ENTRIES, order=order)
  credit = jitted_credit(steps, estimator, tuple(options.items()))
  place = np.concatenate(places)
  return jax.tree.map(lambda leaf: np.asarray(leaf)[place], credit)


@pytest.mark.parametrize("discount", [0.95, 0.9])
def test_equal_rollouts_earn_nothing_whatever_their_length(discount):
  """Six times the same seven steps: every comparison is among equals."""
  states = np.arange(1, 8)
  group = [random_groups.rollout(states, np.append(states[1:], 0))] * 6
  credit = credit_of(group, estimators.gigpo, discount=discount)
  assert not credit.step_advantage.any(), np.abs(credit.step_advantage).max()


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo"])
def test_distinct_edges_do_not_depend_on_the_order_of_rollouts(estimator):
  """Parallel edges of unequal worth: which one stands for the edge?"""
  group = [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [2, 2], invalid=[0]),
    random_groups.rollout([1], [3]),
  ]
  options = {"distinct_edges": True, "invalid_penalty": 0.5}
  function = estimators.ESTIMATORS[estimator]
  first = credit_of(group, function, **options)
  second = credit_of(group, function, order=[1, 0, 2], **options)
  np.testing.assert_allclose(
    second.step_advantage, first.step_advantage, atol=1e-4
  )


def test_dear_steps_stay_finite():
  """omega ** (d' - d + 1) with a cost of 50 would be no float32: 10 ** 49."""
  group = [
    random_groups.rollout([1], [0], cost=[50.0]),
    random_groups.rollout([1], [2]),
  ]
  credit = credit_of(group, estimators.graphgpo, normalize_distance=True)
  for leaf in jax.tree.leaves(credit):
    assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("limits", [{"max_edges": 4}, {"max_nodes": 3}])
def test_limits_are_reported_and_leave_everything_finite(limits):
  steps, _ = random_groups.lay_out(
    hand_groups.one_success_at_costs(), NUM_ENTRIES
  )
  credit, graph, distance = jax.jit(
    lambda steps: estimators.credit_group(
      steps,
      estimators.graphgpo,
      backup=distances.edge_distances,
      scale_free=True,
      **({"max_nodes": NUM_NODES} | limits),
    )
  )(steps)
  assert graph.overflow > 0
  assert graph.overflow + graph.mask.sum() == steps.mask.sum()
  assert distance.shape == graph.node_mask.shape
  for leaf in jax.tree.leaves(credit):
    assert np.all(np.isfinite(leaf))


def test_a_state_without_an_id_is_compared_with_nothing():
  """Node 3 is past the limit: unreachable, and no state of its own."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 3], [3, 0]),
      random_groups.rollout([1, 3], [0, 3]),
    ],
    NUM_ENTRIES,
  )
  credit, graph, _ = estimators.credit_group(
    steps, max_nodes=3, normalize=normalize.mean_only, omega=0.5
  )
  assert graph.overflow == 3
  assert credit.distance[:4].tolist() == [1, 2, 1, 2]
  assert credit.next_distance[:4].tolist() == [2, 0, 0, 2]
  assert credit.step_advantage[:4].tolist() == [-3.75, 0, 3.75, 0]


def test_credit_group_takes_any_backup():
  """The estimator sees the distances that the backup gives."""
  steps, _ = random_groups.lay_out(
    hand_groups.one_success_at_costs(), NUM_ENTRIES
  )
  credit, graph, distance = estimators.credit_group(
    steps,
    max_nodes=4,
    backup=lambda graph: jnp.arange(4.0) * graph.node_mask,
  )
  assert distance.tolist() == [0, 1, 2, 3]
  assert credit.distance[:5].tolist() == [1, 2, 1, 3, 1]
  assert graph.num_nodes == 4


def test_estimators_have_their_names():
  for name, function in estimators.ESTIMATORS.items():
    assert function.__name__ == name
    assert getattr(estimators, name) is function
  assert set(estimators.ESTIMATORS) >= estimators.READS_ACTIONS
