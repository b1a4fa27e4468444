"""Rules of the Sokoban environment."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.sokoban import Sokoban, read_levels
from graphgpo_jax.envs.sokoban.types import (
  DOWN,
  LEFT,
  NUM_ACTIONS,
  NUM_CELL_KINDS,
  RIGHT,
  UP,
  grids_of,
)
from graphgpo_jax.envs.types import Observation

# One push to the right solves it; two boxes in a row cannot be pushed.
ONE_PUSH = """; push
######
#    #
#@$. #
#    #
#    #
######
"""
TWO_IN_A_ROW = """; row
######
#.   #
#.   #
#@$$ #
#    #
######
"""
WALLED_IN = """; walled
######
#@# .#
### $#
#    #
#    #
######
"""
EVERY_KIND = """; kinds
######
#+$  #
#*   #
#  $.#
#    #
######
"""


@functools.cache
def environment(horizon):
  return Sokoban(horizon=horizon)


@functools.cache
def jitted_step(env):
  return jax.jit(env.step)


def start(text, horizon=30):
  env = environment(horizon)
  (task,) = read_levels(text, horizon=horizon)
  state, observation = env.reset(jax.random.key(0), task)
  return env, state, observation


def play(env, state, actions):
  outputs = []
  for action in actions:
    outputs.append(jitted_step(env)(state, jnp.asarray(action)))
    state = outputs[-1][0]
  return outputs


@functools.cache
def some_states():
  """32 states along a random walk, and their observations."""
  env, state, _ = start(EVERY_KIND)

  def step(state, action):
    state, observation, *_ = env.step(state, action)
    return state, (state, observation)

  actions = jax.random.randint(jax.random.key(0), (32,), 0, NUM_ACTIONS)
  states, observations = jax.jit(
    lambda: jax.lax.scan(step, state, actions)[1]
  )()
  return env, states, observations


def test_a_push_that_solves_is_rewarded_and_terminates():
  env, state, _ = start(ONE_PUSH)
  ((after, _, reward, terminated, truncated, info),) = play(env, state, [RIGHT])
  assert float(reward) == 1.0 and reward.dtype == jnp.float32
  assert terminated and not truncated
  assert info.action_valid and info.success
  walls, targets, boxes, player = grids_of(after)
  assert boxes[2, 3] and boxes.sum() == 1 and np.array_equal(boxes, targets)
  assert player == 2 * 6 + 2
  assert walls.sum() == 20
  assert int(after.t) == 1


def test_other_steps_earn_nothing():
  env, state, _ = start(ONE_PUSH)
  for output in play(env, state, [UP, DOWN, DOWN, LEFT]):
    _, _, reward, terminated, truncated, info = output
    assert float(reward) == 0.0
    assert not (terminated or truncated or info.success)


@pytest.mark.parametrize(
  ("text", "action"), [(ONE_PUSH, LEFT), (TWO_IN_A_ROW, RIGHT)]
)
def test_invalid_moves_only_advance_the_clock(text, action):
  env, state, observation = start(text)
  ((after, seen, _, _, _, info),) = play(env, state, [action])
  assert not info.action_valid
  chex.assert_trees_all_equal(after, state.replace(t=state.t + 1))
  chex.assert_trees_all_equal(seen, observation)
  assert not observation.action_mask[action]


def test_a_box_is_not_pushed_into_a_wall():
  env, state, _ = start(ONE_PUSH)
  *_, stuck = play(env, state, [RIGHT, RIGHT, RIGHT])
  assert not stuck[-1].action_valid
  assert int(stuck[0].player) == 2 * 6 + 3


def test_walled_in_player_has_a_full_mask():
  env, state, observation = start(WALLED_IN)
  assert observation.action_mask.all()
  assert not any(
    output[-1].action_valid for output in play(env, state, range(4))
  )


def test_action_mask_says_which_actions_change_the_state():
  env, states, observations = some_states()
  step = jax.jit(jax.vmap(env.step))
  state_key = jax.jit(jax.vmap(env.state_key))
  for action in range(NUM_ACTIONS):
    actions = jnp.full((32,), action)
    after, _, _, _, _, info = step(states, actions)
    changed = state_key(after) != state_key(states)
    np.testing.assert_array_equal(info.action_valid, changed.any(-1))
    np.testing.assert_array_equal(
      info.action_valid, observations.action_mask[:, action]
    )


def test_truncation_at_the_step_limit_unless_solved():
  env, state, _ = start(ONE_PUSH, horizon=15)
  waits = play(env, state, [LEFT] * 15)
  assert [bool(output[4]) for output in waits] == [False] * 14 + [True]
  assert not any(output[3] for output in waits)
  *_, last = play(env, state, [LEFT] * 14 + [RIGHT])
  assert last[3] and not last[4]


def test_steps_past_the_end_stay_finite():
  env, state, _ = start(ONE_PUSH, horizon=15)
  for output in play(env, state, [RIGHT] + [UP, LEFT] * 12):
    chex.assert_tree_all_finite(output)


def test_observation_holds_kind_and_place_of_each_cell():
  env, _, observation = start(EVERY_KIND)
  assert isinstance(observation, Observation)
  chex.assert_shape(observation.tokens, (36, 2))
  chex.assert_type(observation.tokens, jnp.int32)
  assert env.spec.feature_sizes == (NUM_CELL_KINDS, 36)
  assert env.spec.num_tokens == 36 and env.spec.num_actions == 4
  assert observation.token_mask.all() and observation.token_mask.shape == (36,)
  expected = [" #.$*@+".index(c) for c in "".join(EVERY_KIND.split("\n")[1:])]
  np.testing.assert_array_equal(observation.tokens[:, 0], expected)
  np.testing.assert_array_equal(observation.tokens[:, 1], np.arange(36))


def test_state_key_sees_boxes_and_player_but_no_clock():
  env, state, _ = start(EVERY_KIND)
  key = env.state_key(state)
  chex.assert_shape(key, (2,))
  chex.assert_type(key, jnp.uint32)
  chex.assert_trees_all_equal(key, env.state_key(state.replace(t=state.t + 5)))
  moved = state.replace(player=state.player + 1)
  pushed = state.replace(boxes=state.boxes.at[0].set(state.boxes[0] * 2))
  assert (env.state_key(moved) != key).any()
  assert (env.state_key(pushed) != key).any()


def test_state_keys_of_all_positions_differ():
  env, state, _ = start(ONE_PUSH)
  words = np.zeros((36, 2), np.uint32)
  for cell in range(36):
    words[cell, cell // 32] = 1 << cell % 32
  players, boxes = np.meshgrid(np.arange(36), np.arange(36))

  def key_of(player, box):
    return env.state_key(
      state.replace(player=player, boxes=jnp.asarray(words)[box])
    )

  keys = jax.jit(jax.vmap(key_of))(
    jnp.asarray(players.ravel(), jnp.int32), boxes.ravel()
  )
  assert len(np.unique(keys, axis=0)) == 36 * 36


def test_jit_and_vmap_change_nothing_and_trace_once():
  env, states, _ = some_states()
  actions = jnp.arange(32, dtype=jnp.int32) % 4
  batched = jax.jit(jax.vmap(env.step))(states, actions)
  single = jax.jit(chex.assert_max_traces(env.step, n=1))
  for row in range(8):
    state = jax.tree.map(lambda leaf, row=row: leaf[row], states)
    expected = jax.tree.map(lambda leaf, row=row: leaf[row], batched)
    chex.assert_trees_all_equal(single(state, actions[row]), expected)
  chex.assert_trees_all_equal(env.step(state, actions[row]), expected)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("height", 5),
    ("height", 11),
    ("width", 5),
    ("width", 11),
    ("num_boxes", 0),
    ("num_boxes", 4),
    ("horizon", 14),
    ("horizon", 121),
  ],
)
def test_arguments_out_of_range_are_named(name, value):
  with pytest.raises(ValueError, match=f"{name} must be from .* got {value}"):
    Sokoban(**{name: value})


def test_a_task_of_another_size_is_refused():
  with pytest.raises(AssertionError):
    Sokoban(height=7).reset(jax.random.key(0), read_levels(ONE_PUSH)[0])
