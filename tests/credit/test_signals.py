import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import signals
from tests.credit import random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 9


def discounted_oracle(reward, last, mask, discount):
  """Backwards, one step at a time, in float64; exact for discount 1/2."""
  result, following = np.zeros(len(mask)), 0.0
  for at in reversed(range(len(mask))):
    if mask[at]:
      following = float(reward[at]) + (
        0.0 if last[at] else discount * following
      )
      result[at] = following
  return result


def nearest_oracle(distance, source, mask):
  best = {}
  for node, value in zip(source[mask], distance[mask], strict=True):
    best[node] = min(best.get(node, np.inf), value)
  return np.array(
    [best[n] if valid else 0.0 for n, valid in zip(source, mask, strict=True)]
  )


def everything(steps, here, there):
  """Every public function of the module, and its keywords."""
  cost = jnp.where(steps.mask, steps.cost, 1.0)
  found = {
    f"graph_return, {add}, {relative}": signals.graph_return(
      here,
      there,
      cost,
      omega=0.5,
      success_reward=8.0,
      add_step_cost=add,
      normalize_distance=relative,
    )
    for add in (False, True)
    for relative in (False, True)
  }
  known = steps.mask & (steps.source >= 0)
  return found | {
    "nearest_of_source": signals.nearest_of_source(
      there, steps.source, known, max_nodes=NUM_NODES
    ),
    "discounted_return, .5": signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=0.5
    ),
    "discounted_return, 0": signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=0.0
    ),
    "discounted_return, 1": signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=1.0
    ),
    "penalty": signals.invalid_action_penalty(
      steps.action_valid, steps.success, steps.mask, invalid_penalty=0.25
    ),
    "penalty, with success": signals.invalid_action_penalty(
      steps.action_valid,
      steps.success,
      steps.mask,
      invalid_penalty=0.25,
      only_with_success=True,
    ),
  }


def arguments(seeds):
  rng = np.random.default_rng(1)
  steps = random_groups.stack(
    [
      random_groups.lay_out(
        random_groups.random_group(seed, kind="dyadic"), NUM_ENTRIES, rng=rng
      )[0]
      for seed in seeds
    ]
  )
  corners, _ = random_groups.corner_steps(NUM_ENTRIES)
  steps = jax.tree.map(lambda *x: np.concatenate(x), steps, corners)
  here, there = (rng.integers(0, 80, (2, *steps.mask.shape)) / 8).astype(
    np.float32
  )
  return steps, here, there


def test_equal_the_oracles():
  steps, here, there = arguments(range(200))
  found = jax.jit(jax.vmap(everything))(steps, here, there)
  found = jax.tree.map(np.asarray, found)
  cost = np.where(steps.mask, steps.cost, 1.0)
  for name, exponent in {
    "graph_return, False, False": there,
    "graph_return, True, False": there + cost,
    "graph_return, False, True": np.maximum(there - here + cost, 0.0),
    "graph_return, True, True": np.maximum(there - here + cost, 0.0),
  }.items():
    np.testing.assert_allclose(
      found[name], 8.0 * 0.5 ** exponent.astype(np.float64), rtol=2e-6
    )
  for at in range(len(steps.mask)):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
    for name, discount in ((".5", 0.5), ("0", 0.0), ("1", 1.0)):
      np.testing.assert_array_equal(
        found[f"discounted_return, {name}"][at],
        discounted_oracle(one.reward, one.last, one.mask, discount),
      )
    known = one.mask & (one.source >= 0)
    np.testing.assert_array_equal(
      found["nearest_of_source"][at],
      nearest_oracle(there[at], one.source, known),
    )
    penalty = np.where(one.mask & ~one.action_valid, 0.25, 0.0)
    np.testing.assert_array_equal(found["penalty"][at], penalty)
    won = np.any(one.success[one.mask])
    np.testing.assert_array_equal(
      found["penalty, with success"][at], penalty * won
    )


def test_graph_return_small_case():
  """Distances 2 -> 1, 1 -> 0, 2 -> 3 at costs 1, 1, 2; omega = 1/2."""
  here, there = jnp.array([2.0, 1.0, 2.0]), jnp.array([1.0, 0.0, 3.0])
  cost = jnp.array([1.0, 1.0, 2.0])
  for options, expected in (
    ({}, [5.0, 10.0, 1.25]),
    ({"add_step_cost": True}, [2.5, 5.0, 0.3125]),
    ({"normalize_distance": True}, [10.0, 10.0, 1.25]),
    (
      {"normalize_distance": True, "add_step_cost": True},
      [10.0, 10.0, 1.25],
    ),
    ({"success_reward": 1.0}, [0.5, 1.0, 0.125]),
  ):
    found = signals.graph_return(here, there, cost, omega=0.5, **options)
    assert found.tolist() == expected, options


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 13, 31, 67])
def test_equal_distances_have_equal_returns_at_every_place(number):
  """Vectorised and scalar powers agree: any bit would look like a signal."""
  distance = np.array([0.3, 1.0, 2.0, 3.0, 5.5, 7.0, 9.0], np.float32)
  there = jnp.repeat(distance[:, None], number, axis=1)
  found = jax.jit(jax.vmap(lambda d: signals.graph_return(d, d, d, omega=0.1)))(
    there
  )
  np.testing.assert_array_equal(found, np.asarray(found)[:, :1] + 0 * there)


def test_nearest_of_source_small_case():
  found = signals.nearest_of_source(
    jnp.array([3.0, 1.0, 2.0, 0.5, 9.0]),
    jnp.array([1, 1, 2, 1, -1]),
    jnp.array([True, True, True, False, False]),
    max_nodes=3,
  )
  assert found.tolist() == [1.0, 1.0, 2.0, 0.0, 0.0]


def test_discounted_return_small_case():
  """Two rollouts with padding before, between and behind."""
  nothing = np.nan
  found = signals.discounted_return(
    jnp.array([nothing, 1.0, 2.0, 4.0, nothing, 8.0, 0.0, nothing]),
    jnp.array([0, 0, 0, 1, 0, 0, 1, 1], bool),
    jnp.array([0, 1, 1, 1, 0, 1, 1, 0], bool),
    discount=0.5,
  )
  assert found.tolist() == [0.0, 3.0, 4.0, 4.0, 0.0, 8.0, 0.0, 0.0]


@pytest.mark.parametrize("discount", [0.95, 0.9, 0.99])
def test_return_of_a_step_does_not_depend_on_where_its_rollout_stands(
  discount,
):
  """Equal bits, or the normaliser divides the difference by epsilon."""
  length, copies = 7, 6
  reward = np.tile(np.append(np.zeros(length - 1), 10.0), copies)
  last = np.tile(np.arange(length) == length - 1, copies)
  found = signals.discounted_return(
    jnp.asarray(reward, jnp.float32),
    jnp.asarray(last),
    jnp.ones(length * copies, bool),
    discount=discount,
  )
  found = np.asarray(found).reshape(copies, length)
  np.testing.assert_allclose(
    found[0], 10 * discount ** np.arange(6.0, -1, -1), rtol=1e-6
  )
  np.testing.assert_array_equal(found, np.broadcast_to(found[0], found.shape))


def test_penalty_small_case():
  valid = jnp.array([True, False, False, False])
  mask = jnp.array([True, True, True, False])
  nobody, somebody = jnp.zeros(4, bool), jnp.array([1, 0, 0, 0], bool)
  only_padding = jnp.array([0, 0, 0, 1], bool)
  for success, only, expected in (
    (nobody, False, [0, 0.5, 0.5, 0]),
    (nobody, True, [0, 0, 0, 0]),
    (somebody, True, [0, 0.5, 0.5, 0]),
    (only_padding, True, [0, 0, 0, 0]),
  ):
    found = signals.invalid_action_penalty(
      valid, success, mask, invalid_penalty=0.5, only_with_success=only
    )
    assert found.tolist() == expected


def test_no_gradient_where_none_is_promised():
  value = jnp.array([1.0, 2.0, 0.5])
  last, mask = jnp.array([False, False, True]), jnp.ones(3, bool)

  def total(here, there, cost, reward):
    return jnp.sum(
      signals.graph_return(here, there, cost, omega=0.5, add_step_cost=True)
    ) + jnp.sum(signals.discounted_return(reward, last, mask))

  for gradient in jax.grad(total, argnums=(0, 1, 2, 3))(*[value] * 4):
    assert not gradient.any()


def test_refuse_other_shapes():
  with pytest.raises(AssertionError):
    signals.graph_return(jnp.zeros(3), jnp.zeros(3), jnp.zeros(2), omega=0.5)
  with pytest.raises(AssertionError):
    signals.discounted_return(
      jnp.zeros((2, 3)), jnp.ones((2, 3), bool), jnp.ones((2, 3), bool)
    )


def first_eight():
  return jax.tree.map(lambda leaf: leaf[:8], arguments(range(8)))


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, *first_eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, everything, first_eight(), expected, rtol=1e-6
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(
      self.variant, everything, first_eight(), rtol=1e-6
    )


def test_traced_once():
  transforms.assert_traced_once(everything, first_eight())
