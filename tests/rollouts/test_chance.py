"""Rollouts in worlds with chance in their steps."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs import slippery
from graphgpo_jax.envs.household import Household
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import mesh as mesh_lib

# Whole runs: test-all.
pytestmark = pytest.mark.slow

TASKS, MEMBERS, HORIZON = 4, 8, 40
SLIP = 0.4
PARAMS = np.float32(0.1)


@functools.cache
def world(mode="fail"):
  """A small household that slips, with tasks and their keys."""
  inner = Household(num_receptacles=2, num_objects=1, horizon=HORIZON)
  slips = slippery.Slippery(inner, slip=SLIP, mode=mode)
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  keys = fold(jax.random.key(1), jnp.arange(TASKS))
  tasks = jax.jit(jax.vmap(inner.sample_task))(
    fold(jax.random.key(2), jnp.arange(TASKS))
  )
  return inner, slips, tasks, keys


def apply_fn(params, observation):
  """Admissible actions with unequal chances."""
  logits = jnp.sin(
    params * jnp.arange(1, observation.action_mask.shape[-1] + 1)
  )
  return jnp.where(observation.action_mask, logits, logits - 3.0)


def go_to_first(keys, logits):
  del keys
  return jnp.zeros(logits.shape[:1], jnp.int32)


@functools.cache
def play(
  mode="fail",
  *,
  chunk_size=0,
  devices=1,
  tasks=TASKS,
  members=MEMBERS,
  choose=on_device.sample_action,
):
  _, slips, all_tasks, keys = world(mode)

  def collect(params, some_tasks, some_keys):
    return on_device.collect_rollouts(
      slips,
      apply_fn,
      params,
      some_tasks,
      some_keys,
      rollouts_per_task=members,
      choose=choose,
      chunk_size=chunk_size,
    )

  collect = mesh_lib.split_groups(
    collect, mesh_lib.make_mesh(devices), num_shared=1
  )
  first = jax.tree.map(lambda leaf: leaf[:tasks], (all_tasks, keys))
  return jax.device_get(jax.jit(collect)(PARAMS, *first))


def assert_same_steps(one, other):
  """Equal in all that was played; what stands past an end may differ."""
  valid = one.mask
  assert 0 < valid.sum() < valid.size
  for name in ("mask", "success", "episode_return", "reward", "cost"):
    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
  np.testing.assert_array_equal(one.action[valid], other.action[valid])
  np.testing.assert_allclose(one.log_prob, other.log_prob, atol=1e-6)
  np.testing.assert_array_equal(
    one.state_keys[:, :, 1:][valid], other.state_keys[:, :, 1:][valid]
  )
  np.testing.assert_array_equal(one.task_key, other.task_key)


def test_rollouts_of_one_task_slip_apart():
  rollouts = play(members=512, choose=go_to_first)
  assert (rollouts.action[rollouts.mask] == 0).all()
  start, first = rollouts.state_keys[:, :, 0], rollouts.state_keys[:, :, 1]
  assert (start == start[:, :1]).all()
  stayed = (start == first).all(-1)
  # Of each task's 512 rollouts; 0.12 is more than five standard deviations.
  np.testing.assert_allclose(stayed.mean(1), SLIP, atol=0.12)
  assert (stayed[0] != stayed[1]).any()
  # A second step at the place is not admissible: the first was chosen then.
  valid = rollouts.action_valid[:, :, 1]
  np.testing.assert_array_equal(valid, stayed)


@pytest.mark.slow
def test_equal_their_replay():
  inner, slips, tasks, keys = world("other")
  rollouts = play("other")

  @jax.jit
  def start(key, task, member):
    reset_key, play_key = jax.random.split(key)
    own_key = jax.random.split(play_key, MEMBERS)[member]
    state, seen = slips.reset(reset_key, task)
    world_key = jax.random.fold_in(own_key, on_device._WORLD_STREAM)
    return slips.with_chance(state, world_key), seen

  @jax.jit
  def step(state, seen, action):
    log_prob = jax.nn.log_softmax(apply_fn(PARAMS, seen))[action]
    meant = inner.state_key(inner.step(state.world, action)[0])
    state, seen_next, reward, *_, info = slips.step(state, action)
    key = slips.state_key(state)
    return state, seen_next, (log_prob, reward, info, key, meant)

  slipped = 0
  for group, member in np.ndindex(TASKS, MEMBERS):
    task = jax.tree.map(lambda leaf, group=group: leaf[group], tasks)
    state, seen = start(keys[group], task, member)
    for time in range(int(rollouts.mask[group, member].sum())):
      place = group, member, time
      recorded = jax.tree.map(
        lambda leaf, place=place: leaf[place], rollouts.observation
      )
      chex.assert_trees_all_equal(recorded, jax.device_get(seen))
      action = rollouts.action[place]
      # Validity is that of the chosen action, whatever came of it.
      assert rollouts.action_valid[place] == seen.action_mask[action]
      state, seen, told = step(state, seen, action)
      log_prob, reward, info, key, meant = jax.device_get(told)
      np.testing.assert_allclose(rollouts.log_prob[place], log_prob, atol=1e-5)
      assert rollouts.reward[place] == reward
      assert rollouts.cost[place] == info.cost == 1
      np.testing.assert_array_equal(
        rollouts.state_keys[group, member, time + 1], key
      )
      slipped += (meant != key).any()
    assert rollouts.success[group, member] == info.success
  assert slipped > 10


@pytest.mark.slow
def test_draws_do_not_depend_on_chunks_batches_or_devices():
  whole = play()
  assert_same_steps(whole, play(chunk_size=3))
  assert_same_steps(whole, play(devices=4, chunk_size=5))
  assert_same_steps(jax.tree.map(lambda leaf: leaf[:2], whole), play(tasks=2))


def test_costs_and_names_of_tasks():
  inner, _, tasks, _ = world()
  rollouts = play()
  np.testing.assert_array_equal(rollouts.cost, rollouts.mask)
  assert rollouts.cost.dtype == np.float32
  np.testing.assert_array_equal(
    rollouts.task_key, jax.vmap(inner.task_fingerprint)(tasks)
  )


def test_a_slip_of_0_plays_what_the_world_inside_plays():
  inner, _, tasks, keys = world()
  played = [
    jax.device_get(
      jax.jit(
        functools.partial(
          on_device.collect_rollouts,
          environment,
          apply_fn,
          rollouts_per_task=MEMBERS,
        )
      )(PARAMS, tasks, keys)
    )
    for environment in (inner, slippery.Slippery(inner, slip=0.0))
  ]
  chex.assert_trees_all_equal(*played)
