"""Slips: how often, what happens instead, and what is told of it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import envs
from graphgpo_jax.envs import slippery
from graphgpo_jax.envs.household import Household
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.sokoban import Sokoban, read_levels

LANES = 4096
# Far beyond any chance of 4,096 draws: seven standard deviations and more.
SLACK = 0.06
SLIP = 0.3

# The player in the middle can go every way.
OPEN_ROOM = """; open
######
#    #
# @  #
#   $#
#   .#
######
"""
CORNERED = """; cornered
######
#@#  #
# #$ #
# #. #
# #  #
######
"""


@functools.cache
def tiny_household(courier=False):
  return Household(num_receptacles=4, num_objects=3, courier=courier)


@functools.cache
def world(name, mode):
  """A slippery world and LANES copies of one start, each with its chance."""
  if name == "household":
    inner = tiny_household()
    task = jax.jit(inner.sample_task)(jax.random.key(3))
  else:
    inner = Sokoban()
    (task,) = read_levels(OPEN_ROOM if name == "open" else CORNERED)
  slips = slippery.Slippery(inner, slip=SLIP, mode=mode)
  state, _ = slips.reset(jax.random.key(0), task)
  keys = jax.random.split(jax.random.key(5), LANES)
  states = jax.vmap(slips.with_chance, (None, 0))(state, keys)
  return inner, slips, state, states


@functools.cache
def compiled(name, mode):
  return jax.jit(jax.vmap(world(name, mode)[1].step, (0, None)))


def after(name, mode, action):
  """What all lanes come to by one action."""
  states = world(name, mode)[-1]
  following = compiled(name, mode)(states, jnp.int32(action))
  return jax.device_get(following[::5])


@pytest.mark.parametrize("action", range(4))
def test_sokoban_goes_astray_all_other_ways_alike(action):
  inner, _, state, _ = world("open", "other")
  moved, info = after("open", "other", action)
  steps = np.array([-6, 1, 6, -1])
  counts = np.array([(moved.world.player == 14 + s).mean() for s in steps])
  expected = np.where(np.arange(4) == action, 1 - SLIP, SLIP / 3)
  np.testing.assert_allclose(counts, expected, atol=SLACK)
  assert counts.sum() == 1
  assert info.action_valid.all()
  assert (moved.world.t == 1).all()
  assert int(state.world.player) == 14 and inner.spec.num_actions == 4


@pytest.mark.parametrize("name, action", [("open", 1), ("household", 2)])
def test_a_failed_action_changes_nothing_but_the_clock(name, action):
  inner, _, state, _ = world(name, "fail")
  moved, info = after(name, "fail", action)
  done = inner.step(state.world, jnp.int32(action))[0]
  waited = inner.step(state.world, jnp.int32(inner.spec.num_actions))[0]

  def same(lanes, one):
    alike = jax.tree.map(
      lambda a, b: (a == b).reshape(LANES, -1).all(-1), lanes, one
    )
    return np.all(jax.tree.leaves(alike), axis=0)

  happened, failed = same(moved.world, done), same(moved.world, waited)
  np.testing.assert_array_equal(happened, ~failed)
  assert abs(failed.mean() - SLIP) < SLACK
  assert info.action_valid.all()


def test_household_does_another_admissible_action():
  inner, _, state, _ = world("household", "other")
  moved, info = after("household", "other", 0)
  # At the start the agent stands nowhere and can only go somewhere.
  mask = np.asarray(inner.admissible_actions(state.world))
  np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(4))
  shares = [(moved.world.agent == place).mean() for place in range(4)]
  np.testing.assert_allclose(
    shares, [1 - SLIP, SLIP / 3, SLIP / 3, SLIP / 3], atol=SLACK
  )
  assert info.action_valid.all()


@pytest.mark.parametrize("mode", slippery.MODES)
def test_an_inadmissible_action_never_slips(mode):
  inner, _, state, _ = world("household", mode)
  put = inner.spec.num_pointer_actions + words.VERBS.index("put")
  for name, action in (("household", put), ("cornered", 0)):
    inner, _, state, _ = world(name, mode)
    moved, info = after(name, mode, action)
    assert not info.action_valid.any()
    waited = inner.step(state.world, jnp.int32(inner.spec.num_actions))[0]
    chex.assert_trees_all_equal(
      moved.world,
      jax.tree.map(
        lambda leaf: np.broadcast_to(leaf, (LANES, *leaf.shape)), waited
      ),
    )


def test_where_there_is_no_other_action_nothing_happens():
  inner, _, state, _ = world("cornered", "other")
  assert np.asarray(inner.admissible_actions(state.world)).tolist() == [
    False,
    False,
    True,
    False,
  ]
  moved, _ = after("cornered", "other", 2)
  stayed = moved.world.player == state.world.player
  assert abs(stayed.mean() - SLIP) < SLACK


def test_slips_of_following_steps_are_independent():
  _, slips, state, _ = world("household", "fail")

  def step(state, place):
    following, *_ = slips.step(state, place)
    return following, following.world.agent != place

  # Back and forth, so that every action is admissible whatever failed before.
  places = jnp.arange(2048, dtype=jnp.int32) % 4
  _, failed = jax.jit(lambda: jax.lax.scan(step, state, places))()
  failed = np.asarray(failed)
  # A step to where the agent is already cannot fail to bring it there.
  assert abs(failed.mean() - SLIP) < SLACK
  both = (failed[1:] & failed[:-1]).mean()
  assert abs(both - SLIP**2) < SLACK


def test_keys_of_states_forget_chance():
  inner, slips, state, states = world("household", "fail")
  keys = jax.vmap(slips.state_key)(states)
  expected = inner.state_key(state.world)
  np.testing.assert_array_equal(keys, np.broadcast_to(expected, (LANES, 2)))


def test_the_reset_key_alone_decides_what_slips():
  inner, slips, *_ = world("household", "other")
  task = inner.sample_task(jax.random.key(3))

  @jax.jit
  def play(key):
    state, _ = slips.reset(key, task)

    def step(state, action):
      state, *rest = slips.step(state, action)
      return state, (slips.state_key(state), *rest)

    return jax.lax.scan(step, state, jnp.arange(64, dtype=jnp.int32) % 14)[1]

  first, again = play(jax.random.key(1)), play(jax.random.key(1))
  chex.assert_trees_all_equal(first, again)
  assert (first[0] != play(jax.random.key(2))[0]).any()


def test_without_slip_the_wrapper_changes_nothing():
  inner, *_ = world("household", "fail")
  slips = slippery.Slippery(inner, slip=0.0, mode="other")
  task = inner.sample_task(jax.random.key(4))
  start, seen = slips.reset(jax.random.key(0), task)
  plain, also_seen = inner.reset(jax.random.key(0), task)
  chex.assert_trees_all_equal(seen, also_seen)

  @jax.jit
  def play(start, plain):
    def step(states, action):
      start, plain = states
      start, *told = slips.step(start, action)
      plain, *expected = inner.step(plain, action)
      return (start, plain), ((start.world, told), (plain, expected))

    actions = jnp.arange(40, dtype=jnp.int32) * 5 % inner.spec.num_actions
    return jax.lax.scan(step, (start, plain), actions)[1]

  chex.assert_trees_all_equal(*play(start, plain))


def test_traced_once_and_the_same_in_a_batch():
  _, slips, _, states = world("open", "other")
  single = jax.jit(chex.assert_max_traces(slips.step, n=1))
  batched = jax.jit(jax.vmap(slips.step))(
    states, jnp.arange(LANES, dtype=jnp.int32) % 4
  )
  for row in range(6):
    state = jax.tree.map(lambda leaf, row=row: leaf[row], states)
    got = single(state, jnp.int32(row % 4))
    expected = jax.tree.map(lambda leaf, row=row: leaf[row], batched)
    unkeyed = [
      (out[0].world, jax.random.key_data(out[0].chance), out[1:])
      for out in (got, expected)
    ]
    chex.assert_trees_all_equal(*unkeyed)


def test_made_by_name():
  plain = envs.make_environment("household", slip=0.0, slip_mode="other")
  assert type(plain) is Household
  assert type(envs.make_environment("sokoban")) is Sokoban
  chore = envs.make_environment("household", slip=0.1)
  move = envs.make_environment("sokoban", slip=0.2)
  assert (chore.slip, chore.mode) == (0.1, "fail")
  assert (move.slip, move.mode) == (0.2, "other")
  assert chore.spec == plain.spec


@pytest.mark.parametrize(
  "options, message",
  [
    ({"slip": 1.0}, r"slip must lie in \[0, 1\), got 1.0"),
    ({"slip": -0.1}, r"slip must lie in \[0, 1\)"),
    ({"slip": "0.1"}, "slip must be a number, got '0.1'"),
    ({"slip": True}, "slip must be a number"),
    ({"slip_mode": "fall"}, "slip_mode='fall' does not exist; .* fail, other"),
    ({"slipp": 0.1}, "environment household: .*slipp"),
  ],
)
def test_options_are_checked_by_name(options, message):
  with pytest.raises(ValueError, match=message):
    envs.make_environment("household", **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["courier", "sokoban"])
def test_admissible_actions_are_those_that_steps_call_valid(name):
  inner = Sokoban() if name == "sokoban" else tiny_household(courier=True)
  keys = jax.random.split(jax.random.key(8), 16)
  tasks = jax.jit(jax.vmap(inner.sample_task))(keys)
  state, observation = jax.vmap(inner.reset)(keys, tasks)
  num_actions = inner.spec.num_actions

  @jax.jit
  def ask(state):
    def one(state, action):
      after, *_, info = inner.step(state, action)
      return inner.state_key(after), info

    every = jnp.arange(num_actions + 1, dtype=jnp.int32)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(state, every)

  chance = np.random.default_rng(0)
  step = jax.jit(jax.vmap(inner.step))
  mask_of = jax.jit(jax.vmap(inner.admissible_actions))
  key_of = jax.jit(jax.vmap(inner.state_key))
  for _ in range(12):
    keys_after, info = ask(state)
    mask = np.asarray(mask_of(state))
    np.testing.assert_array_equal(mask, info.action_valid[:, :num_actions])
    np.testing.assert_array_equal(mask, observation.action_mask)
    # The action past the last one waits.
    np.testing.assert_array_equal(keys_after[:, num_actions], key_of(state))
    actions = [chance.choice(np.flatnonzero(row)) for row in mask]
    state, observation, *_ = step(state, jnp.asarray(actions, jnp.int32))
