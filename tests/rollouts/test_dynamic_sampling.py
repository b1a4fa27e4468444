"""Dynamic sampling against a list of batches."""

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device

GROUPS, MEMBERS, STEPS = 4, 2, 3


def batches(*returns):
  """A fake collect: batch k has the returns [B, M] listed k-th."""
  returns = jnp.asarray(returns, jnp.float32)
  # The caller's fold of its key by the number of the batch names the batch.
  names = jax.vmap(
    lambda index: jax.random.key_data(
      jax.random.fold_in(jax.random.key(0), index)
    )
  )(jnp.arange(len(returns)))

  def collect(key):
    which = jnp.argmax(jnp.all(names == jax.random.key_data(key), axis=-1))
    shape = (GROUPS, MEMBERS, STEPS)
    name = 10 * which + jnp.arange(GROUPS)
    filled = jnp.broadcast_to(name[:, None, None], shape)
    return on_device.Rollouts(
      observation=types.Observation(
        tokens=filled[..., None, None],
        token_mask=jnp.ones((*shape, 1), bool),
        action_mask=jnp.ones((*shape, 2), bool),
      ),
      state_keys=jnp.zeros((*shape[:2], STEPS + 1, 2), jnp.uint32),
      action=filled,
      log_prob=jnp.zeros(shape),
      reward=jnp.zeros(shape),
      action_valid=jnp.ones(shape, bool),
      mask=jnp.ones(shape, bool),
      success=returns[which] > 0,
      episode_return=returns[which],
    )

  return collect


def sample(*returns, limit):
  rollouts, drawn = jax.jit(
    lambda key: on_device.collect_informative_rollouts(
      batches(*returns), key, max_resamples=limit
    )
  )(jax.random.key(0))
  kept = np.asarray(rollouts.action[:, 0, 0])
  masked = np.asarray(rollouts.mask).any(axis=(1, 2))
  tokens = np.asarray(rollouts.observation.tokens[:, 0, 0, 0, 0])
  np.testing.assert_array_equal(tokens, kept)
  return kept.tolist(), masked.tolist(), int(drawn)


GOOD, ZERO, ONE = [0, 1], [0, 0], [1, 1]


def test_informative_groups_are_those_of_unequal_returns():
  rollouts = batches([GOOD, ZERO, ONE, [2, 3]])(
    jax.random.fold_in(jax.random.key(0), 0)
  )
  np.testing.assert_array_equal(
    on_device.informative_groups(rollouts), [True, False, False, True]
  )


def test_nothing_is_drawn_again_when_all_groups_inform():
  kept, masked, drawn = sample([GOOD] * 4, [GOOD] * 4, limit=3)
  assert (kept, masked, drawn) == ([0, 1, 2, 3], [True] * 4, 1)


def test_exactly_the_uninformative_groups_are_replaced():
  kept, masked, drawn = sample(
    [GOOD, ZERO, GOOD, ONE], [ZERO, GOOD, ONE, GOOD], limit=3
  )
  assert (kept, masked, drawn) == ([0, 11, 2, 13], [True] * 4, 2)


def test_several_batches_fill_the_places_in_order():
  kept, masked, drawn = sample(
    [ZERO, ZERO, GOOD, ZERO],
    [ZERO, ZERO, ZERO, GOOD],
    [ZERO] * 4,
    [GOOD, GOOD, GOOD, GOOD],
    limit=5,
  )
  assert (kept, masked, drawn) == ([13, 30, 2, 31], [True] * 4, 4)


def test_the_limit_holds_and_what_is_left_is_masked():
  kept, masked, drawn = sample(
    [ZERO, GOOD, ZERO, ZERO],
    [ZERO, ZERO, GOOD, ZERO],
    [ZERO] * 4,
    [GOOD] * 4,
    limit=2,
  )
  assert kept[:2] == [12, 1]
  assert (masked, drawn) == ([True, True, False, False], 3)


def test_no_group_informs_at_all():
  _, masked, drawn = sample([ZERO] * 4, [ONE] * 4, [ZERO] * 4, limit=2)
  assert (masked, drawn) == ([False] * 4, 3)
