"""Episodes as the arrays that credit reads."""

import dataclasses

import numpy as np
import pytest

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import credit_arrays, episodes, workers


def episode(rollout, told, *, success=False, failure=None):
  """`told`: a command, whether it was read, and the step after it, each."""
  now = types.TextStep("start", "Go.")
  turns = []
  for command, read, after in told:
    turns.append(episodes.Turn(now, episodes.Action(command, read), after))
    now = after
  plan = episodes.Plan(rollout, 0, rollout, "t", 0)
  return episodes.Episode(plan, tuple(turns), failure, success)


def step(observation, **fields):
  return types.TextStep(observation, "Go.", **fields)


PLAYED = [
  episode(
    0,
    [
      ("go", True, step("hall", reward=0.25, cost=2.0)),
      ("hm", False, step("hall")),
      ("go", True, step("end", reward=0.5, success=True)),
    ],
    success=True,
  ),
  episode(1, [("go", True, step("hall", action_valid=False))]),
  episode(
    2, [("go", True, step("hall"))], failure=workers.Failure("crash", "gone")
  ),
]
SIZES = {"num_groups": 1, "rollouts_per_task": 3, "max_steps": 4}


def arrays(success_reward=10.0, **changes):
  return credit_arrays.to_rollouts(
    PLAYED,
    lambda one: one.observation,
    success_reward=success_reward,
    **(SIZES | changes),
  )


def test_arrays():
  found = arrays()
  np.testing.assert_array_equal(
    found.mask[0], [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(found.success, [[True, False, False]])
  np.testing.assert_array_equal(found.reward[0, 0], [0, 0, 10, 0])
  np.testing.assert_array_equal(found.episode_return, [[10, 0, 0]])
  np.testing.assert_array_equal(found.cost[0, 0], [2, 1, 1, 0])
  # Neither what the model said unreadably nor what the world did not follow.
  np.testing.assert_array_equal(
    found.action_valid[0, :2, :3], [[1, 0, 1], [0, 1, 1]]
  )
  assert found.observation is None
  first, *others = found.action[0, 0, [0, 2, 1]]
  assert first == others[0] != others[1]
  keys = [tuple(key) for key in found.state_keys[0, 0, :4]]
  assert keys[1] == keys[2] == tuple(found.state_keys[0, 1, 1])
  assert len(set(keys)) == 3 and keys[0] == tuple(found.state_keys[0, 1, 0])


def test_rewards_of_the_world():
  found = arrays(success_reward=None)
  np.testing.assert_array_equal(found.reward[0, 0], [0.25, 0, 0.5, 0])
  np.testing.assert_array_equal(found.episode_return, [[0.75, 0, 0]])


def test_an_episode_that_is_too_long_is_named():
  with pytest.raises(ValueError, match="episode 0 has 3 steps: expected at"):
    arrays(max_steps=2)
  # One that failed is not read.
  lone = dataclasses.replace(PLAYED[2], turns=PLAYED[0].turns)
  credit_arrays.to_rollouts(
    [lone],
    lambda one: one.observation,
    success_reward=None,
    **(SIZES | {"max_steps": 1}),
  )
