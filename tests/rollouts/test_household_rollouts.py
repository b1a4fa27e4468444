"""Rollouts of the household against a plain loop."""

import chex
import jax
import numpy as np
import pytest

from tests.rollouts import replays
from tests.training import tiny


@pytest.fixture(scope="module")
def household():
  """Parameters, rollouts with a success and a failure, and their tasks."""
  params, rollouts = tiny.mixed_rollouts()
  return params, jax.device_get(rollouts)


@pytest.mark.slow
def test_household_rollouts_equal_their_replay(household):
  params, rollouts = household
  built = tiny.experiment()
  environment = built.environment
  # The phase draws its tasks from the first half of its key.
  task_key, _ = jax.random.split(jax.random.key(tiny.mixed_seed()))
  keys = jax.random.split(task_key, tiny.TASKS)
  sample = jax.jit(environment.sample_task)
  reset = jax.jit(environment.reset)
  logits = np.asarray(jax.jit(built.apply_fn)(params, rollouts.observation))
  log_probs = np.asarray(jax.nn.log_softmax(logits))
  for group in range(tiny.TASKS):
    start = reset(jax.random.key(0), sample(keys[group]))
    for member in range(tiny.ROLLOUTS):
      place = group, member
      actions = rollouts.action[place]
      records, state_keys, success = replays.replay(environment, start, actions)
      length = len(records)
      expected = np.arange(tiny.HORIZON) < length
      np.testing.assert_array_equal(rollouts.mask[place], expected)
      np.testing.assert_array_equal(
        rollouts.state_keys[place][: length + 1], state_keys
      )
      assert rollouts.success[place] == success
      rewards = [reward for _, reward, _ in records]
      np.testing.assert_array_equal(rollouts.reward[place][:length], rewards)
      assert rollouts.episode_return[place] == sum(rewards)
      for time, (observation, _, valid) in enumerate(records):
        recorded = jax.tree.map(
          lambda leaf, where=(*place, time): leaf[where], rollouts.observation
        )
        chex.assert_trees_all_equal(recorded, jax.device_get(observation))
        assert rollouts.action_valid[place][time] == valid
      np.testing.assert_allclose(
        rollouts.log_prob[place][:length],
        log_probs[place][np.arange(length), actions[:length]],
        atol=1e-5,
      )
      assert not rollouts.reward[place][length:].any()
      assert not rollouts.log_prob[place][length:].any()


def test_household_groups_start_alike_and_act_apart(household):
  _, rollouts = household
  tokens = rollouts.observation.tokens[:, :, 0]
  np.testing.assert_array_equal(
    tokens, np.broadcast_to(tokens[:, :1], tokens.shape)
  )
  keys = rollouts.state_keys[:, :, 0]
  np.testing.assert_array_equal(keys, np.broadcast_to(keys[:, :1], keys.shape))
  assert len(np.unique(rollouts.action.reshape(-1, tiny.HORIZON), axis=0)) > 1


def test_household_types_and_shapes(household):
  _, rollouts = household
  shape = (tiny.TASKS, tiny.ROLLOUTS, tiny.HORIZON)
  for name, dtype in (
    ("action", np.int32),
    ("log_prob", np.float32),
    ("reward", np.float32),
    ("action_valid", np.bool_),
    ("mask", np.bool_),
  ):
    leaf = getattr(rollouts, name)
    assert (leaf.shape, leaf.dtype) == (shape, dtype), name
  assert rollouts.state_keys.shape == (*shape[:2], shape[2] + 1, 2)
  assert rollouts.state_keys.dtype == np.uint32
  assert rollouts.success.shape == rollouts.episode_return.shape == shape[:2]
