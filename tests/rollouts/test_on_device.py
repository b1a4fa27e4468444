"""Rollouts against a plain loop, and dynamic sampling against a list."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device
from tests.training import tiny


@chex.dataclass(frozen=True)
class Place:
  goal: chex.Array
  colour: chex.Array
  position: chex.Array
  clock: chex.Array


class Corridor:
  """Action 1 goes one on, 0 waits, 2 is not admissible."""

  def __init__(self, horizon):
    self.spec = types.EnvironmentSpec(
      name="corridor",
      num_tokens=1,
      feature_sizes=(16, 1000),
      num_pointer_actions=0,
      pointer_start=0,
      num_fixed_actions=3,
      horizon=horizon,
    )

  def _observe(self, state):
    return types.Observation(
      tokens=jnp.stack([state.goal - state.position, state.colour])[None],
      token_mask=jnp.ones(1, bool),
      action_mask=jnp.ones(3, bool),
    )

  def sample_task(self, key):
    return jax.random.randint(key, (), 1, 4)

  def reset(self, key, task):
    state = Place(
      goal=jnp.asarray(task, jnp.int32),
      colour=jax.random.randint(key, (), 0, 1000),
      position=jnp.int32(0),
      clock=jnp.int32(0),
    )
    return state, self._observe(state)

  def step(self, state, action):
    after = state.replace(
      position=state.position + (action == 1), clock=state.clock + 1
    )
    success = after.position == after.goal
    return (
      after,
      self._observe(after),
      success.astype(jnp.float32),
      success,
      (after.clock >= self.spec.horizon) & ~success,
      types.StepInfo(action_valid=action != 2, success=success),
    )

  def state_key(self, state):
    return jnp.stack([state.position, state.goal]).astype(jnp.uint32)


def apply_fn(params, observation):
  left = observation.tokens[..., 0, 0]
  return params[jnp.clip(left, 0, 3)]


def always(action):
  return lambda keys, logits: jnp.full(logits.shape[:1], action, jnp.int32)


@functools.cache
def compiled(horizon, rollouts_per_task, choose, chunk_size=0):
  return jax.jit(
    functools.partial(
      on_device.collect_rollouts,
      Corridor(horizon),
      apply_fn,
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


def replay(environment, start, actions):
  """Plays recorded actions one at a time."""
  state, observation = start
  step = jax.jit(environment.step)
  state_key = jax.jit(environment.state_key)
  records, keys = [], [state_key(state)]
  for action in actions:
    state, following, reward, terminated, truncated, info = step(state, action)
    records.append((observation, float(reward), bool(info.action_valid)))
    keys.append(state_key(state))
    observation = following
    if terminated or truncated:
      return records, np.asarray(keys), bool(info.success)
  raise AssertionError("the rollout has no end")


@pytest.fixture(scope="module")
def household():
  """Parameters, rollouts with a success and a failure, and their tasks."""
  params, rollouts = tiny.mixed_rollouts()
  return params, jax.device_get(rollouts)


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
      records, state_keys, success = replay(environment, start, actions)
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


def test_corridor_equals_its_replay():
  rollouts = play([1, 2, 3], horizon=6)
  environment = Corridor(6)
  assert rollouts.success.any() and not rollouts.success.all()
  for group, task in enumerate([1, 2, 3]):
    for member in range(4):
      place = group, member
      start = environment.reset(jax.random.key(0), task)
      actions = rollouts.action[place]
      records, keys, success = replay(environment, start, actions)
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
      Corridor(3),
      apply_fn,
      jnp.zeros((4, 3)),
      jnp.asarray([1, 2]),
      jax.random.split(key, 2),
      rollouts_per_task=2,
    )

  for seed in range(3):
    collect(jax.random.key(seed))


# Dynamic sampling.

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
