import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import rollouts
from tests.credit import rules, transforms

NUM_ROLLOUTS, NUM_STEPS = 4, 5
NO_NODE = graph_lib.NO_NODE


def random_arrays(seed):
  """Arrays of one group, garbage where there is no step."""
  rng = np.random.default_rng(seed)
  shape = (NUM_ROLLOUTS, NUM_STEPS)
  keys = rng.integers(0, 3, (NUM_ROLLOUTS, NUM_STEPS + 1, 2))
  mask = np.arange(NUM_STEPS) < rng.integers(0, NUM_STEPS + 1, (shape[0], 1))
  reward = np.where(mask, rng.integers(-4, 5, shape) / 4, np.nan)
  cost = np.where(mask, rng.integers(0, 9, shape) / 8, np.inf)
  return (
    keys.astype(np.uint32),
    reward.astype(np.float32),
    rng.random(NUM_ROLLOUTS) < 0.5,
    rng.random(shape) < 0.7,
    mask,
    cost.astype(np.float32),
  )


def merge(keys, reward, success, action_valid, mask, cost):
  return rollouts.merge_rollouts(
    keys, reward, success, action_valid, mask, cost=cost
  )


def arguments(number):
  groups = [random_arrays(seed) for seed in range(number)]
  return tuple(np.stack(leaves) for leaves in zip(*groups, strict=True))


def merge_oracle(keys, reward, success, mask):
  """Per step (source key, target key or None for the sink, is last)."""
  steps, visits = {}, []
  for m in range(NUM_ROLLOUTS):
    number = int(mask[m].sum())
    for t in range(number):
      last = t == number - 1
      won = last and bool(success[m])
      target = None if won else tuple(keys[m, t + 1].tolist())
      source = tuple(keys[m, t].tolist())
      steps[m, t] = source, target, last, float(reward[m, :number].sum())
      visits += [source] if target is None else [source, target]
  ids = {key: at for at, key in enumerate(sorted(set(visits)), 1)}
  return steps, ids | {None: graph_lib.SUCCESS}


def test_equals_the_oracle():
  batch = arguments(200)
  merged = jax.tree.map(np.asarray, jax.jit(jax.vmap(merge))(*batch))
  for at in range(200):
    keys, reward, success, action_valid, mask, cost = (x[at] for x in batch)
    expected, ids = merge_oracle(keys, reward, success, mask)
    steps = jax.tree.map(
      lambda leaf, at=at: leaf[at].reshape(NUM_ROLLOUTS, NUM_STEPS),
      merged.steps,
    )
    assert merged.num_nodes[at] == len(ids)
    assert merged.overflow[at] == 0
    np.testing.assert_array_equal(steps.mask, mask)
    for place in np.ndindex(mask.shape):
      if place not in expected:
        assert steps.source[place] == steps.target[place] == NO_NODE
        assert not steps.last[place] and not steps.success[place]
        assert steps.reward[place] == steps.cost[place] == 0.0
        assert steps.episode_return[place] == 0.0
        continue
      source, target, last, total = expected[place]
      assert steps.source[place] == ids[source]
      assert steps.target[place] == ids[target]
      assert steps.last[place] == last
      assert steps.episode_return[place] == total
      assert steps.reward[place] == reward[place]
      assert steps.cost[place] == cost[place]
      assert steps.success[place] == success[place[0]]
      assert steps.action_valid[place] == action_valid[place]


def test_costs_are_one_without_them_and_limits_are_counted():
  keys, reward, success, action_valid, mask, _ = random_arrays(3)
  merged = rollouts.merge_rollouts(
    keys, reward, success, action_valid, mask, max_nodes=2
  )
  np.testing.assert_array_equal(merged.steps.cost, mask.reshape(-1) * 1.0)
  whole = rollouts.merge_rollouts(keys, reward, success, action_valid, mask)
  assert whole.num_nodes > 2 and whole.overflow == 0
  assert merged.num_nodes == 2 and merged.overflow > 0
  assert merged.steps.source.max() == 1


def test_node_limit_is_enough_for_all_states_different():
  number = rollouts.node_limit(NUM_ROLLOUTS, NUM_STEPS)
  shape = (NUM_ROLLOUTS, NUM_STEPS)
  keys = np.arange(2 * (number - 1)).reshape(NUM_ROLLOUTS, -1, 2)
  merged = rollouts.merge_rollouts(
    keys.astype(np.uint32),
    np.zeros(shape, np.float32),
    np.zeros(NUM_ROLLOUTS, bool),
    np.ones(shape, bool),
    np.ones(shape, bool),
  )
  assert merged.num_nodes == number and merged.overflow == 0


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(merge, *arguments(8))


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, merge, arguments(8), expected)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    one = random_arrays(0)
    transforms.assert_same(self.variant(merge)(*one), jax.jit(merge)(*one))


def test_traced_once():
  transforms.assert_traced_once(merge, arguments(3))
