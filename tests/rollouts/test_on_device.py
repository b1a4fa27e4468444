"""Rollouts through a corridor: against a plain loop, and what they draw."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.rollouts import on_device
from tests.rollouts import corridor, replays


def always(action):
  return lambda keys, logits: jnp.full(logits.shape[:1], action, jnp.int32)


@functools.cache
def compiled(horizon, rollouts_per_task, choose, chunk_size=0):
  return jax.jit(
    functools.partial(
      on_device.collect_rollouts,
      corridor.Corridor(horizon),
      corridor.apply_fn,
      rollouts_per_task=rollouts_per_task,
      choose=choose,
      chunk_size=chunk_size,
    )
  )


def play(
  tasks,
  key=0,
  horizon=5,
  rollouts=4,
  params=None,
  choose=on_device.sample_action,
  chunk_size=0,
):
  if params is None:
    params = jax.random.normal(jax.random.key(9), (4, 3))
  collect = compiled(horizon, rollouts, choose, chunk_size)
  return jax.device_get(
    collect(params, jnp.asarray(tasks), task_keys(key, len(tasks)))
  )


def task_keys(key, number):
  """Keys of the tasks 0, 1, ...: the same however many there are."""
  return jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(key), jnp.arange(number)
  )


def first_steps(mask):
  """True up to the first step of each rollout that has no mask."""
  return np.logical_and.accumulate(mask, axis=-1)


@pytest.mark.slow
def test_corridor_equals_its_replay():
  rollouts = play([1, 2, 3], horizon=6)
  environment = corridor.Corridor(6)
  assert rollouts.success.any() and not rollouts.success.all()
  for group, task in enumerate([1, 2, 3]):
    for member in range(4):
      place = group, member
      start = environment.reset(jax.random.key(0), task)
      actions = rollouts.action[place]
      records, keys, success = replays.replay(environment, start, actions)
      length = len(records)
      assert rollouts.mask[place].sum() == length
      assert rollouts.success[place] == success
      np.testing.assert_array_equal(
        rollouts.state_keys[place][: length + 1], keys
      )
      np.testing.assert_array_equal(
        rollouts.action_valid[place][:length], [valid for *_, valid in records]
      )


def test_mask_is_a_prefix_and_ends_with_the_episode():
  rollouts = play([1, 2, 3], horizon=6)
  np.testing.assert_array_equal(rollouts.mask, first_steps(rollouts.mask))
  assert rollouts.mask[..., 0].all()
  length = rollouts.mask.sum(-1)
  last = np.take_along_axis(rollouts.reward, length[..., None] - 1, -1)[..., 0]
  np.testing.assert_array_equal(last, rollouts.success)
  assert (length[~rollouts.success] == 6).all()


def test_the_worlds_chance_is_shared_by_a_group():
  tokens = play([2, 2, 2]).observation.tokens
  colours = tokens[:, :, 0, 0, 1]
  assert (colours == colours[:, :1]).all()
  assert len(np.unique(colours[:, 0])) == 3


def test_the_same_key_gives_the_same_rollouts():
  chex.assert_trees_all_equal(play([2, 3], key=4), play([2, 3], key=4))
  other = play([2, 3], key=5)
  assert (play([2, 3], key=4).action != other.action).any()


def test_actions_of_each_step_are_drawn_anew():
  actions = play([3], rollouts=64, params=jnp.zeros((4, 3))).action
  assert len(np.unique(actions[0, :, 0])) == 3
  assert (actions[0, :, 0] != actions[0, :, 1]).any()


def test_an_early_end_equals_the_full_scan(monkeypatch):
  short = play([1, 2], horizon=7, choose=always(1))
  assert short.mask.sum() == 4 * (1 + 2)
  monkeypatch.setattr(
    jax.lax, "cond", lambda _, act, rest, *carried: act(*carried)
  )
  full = play([1, 2], horizon=7, choose=always(1))  # Another function.
  for name in ("mask", "reward", "log_prob", "success", "episode_return"):
    np.testing.assert_array_equal(getattr(short, name), getattr(full, name))
  valid = short.mask
  np.testing.assert_array_equal(short.action[valid], full.action[valid])
  chex.assert_trees_all_equal(
    jax.tree.map(lambda leaf: leaf[valid], short.observation),
    jax.tree.map(lambda leaf: leaf[valid], full.observation),
  )
  np.testing.assert_array_equal(
    short.state_keys[:, :, 1:][valid], full.state_keys[:, :, 1:][valid]
  )


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 20])
def test_chunks_of_the_rollouts_change_nothing(chunk_size):
  whole = play([1, 2], horizon=7)
  chunked = play([1, 2], horizon=7, chunk_size=chunk_size)
  for name in ("mask", "reward", "log_prob", "success", "episode_return"):
    np.testing.assert_array_equal(getattr(whole, name), getattr(chunked, name))
  valid = whole.mask
  assert 0 < valid.sum() < valid.size
  np.testing.assert_array_equal(whole.action[valid], chunked.action[valid])
  np.testing.assert_array_equal(
    whole.state_keys[:, :, 1:][valid], chunked.state_keys[:, :, 1:][valid]
  )


def test_what_a_task_draws_does_not_depend_on_the_other_tasks():
  alone = play([2, 3])
  among = play([2, 3, 1, 3])
  chex.assert_trees_all_equal(alone, jax.tree.map(lambda leaf: leaf[:2], among))
  # The fourth task is the second's, under another key.
  assert (among.action[1] != among.action[3]).any()


def test_refuses_negative_chunks():
  with pytest.raises(ValueError, match="chunk_size"):
    play([1], chunk_size=-1)


def test_greedy_takes_the_best_action():
  params = jnp.asarray([[0.0, 1.0, 0.5]] * 4)
  rollouts = play([2], params=params, choose=on_device.greedy_action)
  assert (rollouts.action[rollouts.mask] == 1).all()
  assert rollouts.success.all()
  log_prob = rollouts.log_prob[rollouts.mask]
  expected = np.asarray(jax.nn.log_softmax(params[0]))[1]
  np.testing.assert_allclose(log_prob, expected, rtol=1e-6)


def test_inadmissible_actions_are_marked():
  rollouts = play([1, 3], choose=always(2))
  np.testing.assert_array_equal(rollouts.action_valid, ~rollouts.mask)
  assert not rollouts.success.any()


def test_traced_once_per_shape():
  @jax.jit
  @chex.assert_max_traces(n=1)
  def collect(key):
    return on_device.collect_rollouts(
      corridor.Corridor(3),
      corridor.apply_fn,
      jnp.zeros((4, 3)),
      jnp.asarray([1, 2]),
      jax.random.split(key, 2),
      rollouts_per_task=2,
    )

  for seed in range(3):
    collect(jax.random.key(seed))
