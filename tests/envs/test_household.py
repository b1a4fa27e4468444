"""The household's interface, its tasks, its split and its panels."""

import collections
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.household import Household, expert_actions, rules
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.panels import make_panel, panel_sha256
from graphgpo_jax.envs.split import is_evaluation_side

PANELS = {
  1: "a6659d0b9f32bce1cfbe27597d944977dda71d37b6fa481bfc3b8034273300a8",
  2: "1c6e6d3a7b6f87c7ecca92a2838902d76a0507a6e56374e1624a2a889c8e8f9a",
  6: "1075b52b54345ff72025f3abc9be44522d5a3ccf014f0b520cbec6035f22637b",
}
SIZE = 512


@functools.cache
def drawn(tier):
  """Environment, training tasks, and its panel of evaluation tasks."""
  environment = Household(tier=tier)
  keys = jax.random.split(jax.random.key(7), SIZE)
  tasks = jax.jit(jax.vmap(environment.sample_task))(keys)
  panel = make_panel(environment, seed=2026, size=128)
  return environment, *jax.device_get((tasks, panel))


def one(tasks, index):
  return jax.tree.map(lambda leaf: leaf[index], tasks)


@pytest.mark.parametrize(
  "name, options",
  [
    ("tier", {"tier": 0}),
    ("tier", {"tier": 7}),
    ("tier", {"tier": "1"}),
    ("num_receptacles", {"num_receptacles": 1}),
    ("num_receptacles", {"tier": 6, "num_receptacles": 5}),
    ("num_receptacles", {"num_receptacles": len(words.STOCK) + 1}),
    ("num_objects", {"num_objects": 0}),
    ("num_objects", {"tier": 6, "num_objects": 1}),
    ("horizon", {"horizon": 0}),
    ("horizon", {"horizon": 201}),
    ("horizon", {"horizon": 30.0}),
    ("hidden", {"hidden": 1}),
  ],
)
def test_arguments_are_checked_by_name(name, options):
  with pytest.raises(ValueError, match=f"^{name} "):
    Household(**options)


def test_spec_counts_tokens_and_actions():
  spec = Household(num_receptacles=9, num_objects=4, horizon=33).spec
  assert spec.num_tokens == 14
  assert spec.num_actions == 9 + 4 + 7
  assert (spec.pointer_start, spec.num_pointer_actions) == (1, 13)
  assert spec.horizon == 33


@pytest.mark.parametrize("tier", [1, 6])
def test_tasks_are_well_formed(tier):
  _, *sides = drawn(tier)
  holds = jax.jit(jax.vmap(lambda task: rules.goal_holds(rules.start(task))))
  for tasks in sides:
    size = len(tasks.task_type)
    kinds = np.bincount(tasks.task_type, minlength=6)
    assert (kinds[:tier] > size / tier / 2).all()
    assert (kinds[tier:] == 0).all()
    goal_things = tasks.object_types == tasks.goal_object[:, None]
    needed = np.where(tasks.task_type == words.PICK_TWO, 2, 1)
    assert (goal_things.sum(-1) >= needed).all()
    for row in range(size):
      types = collections.Counter(tasks.receptacle_types[row].tolist())
      stock = collections.Counter(words.STOCK.tolist())
      assert types <= stock
      assert types[int(tasks.goal_receptacle[row])]
      assert all(types[f] == 1 for f in words.FIXTURES[: tier - 1])
    places = np.take_along_axis(tasks.receptacle_types, tasks.locations, -1)
    assert not (goal_things & (places == tasks.goal_receptacle[:, None])).any()
    # Where the goal lets it, a goal object lies where one would look for it.
    assert words.PLAUSIBLE[tasks.object_types, places][goal_things].all()
    assert not holds(tasks).any()


@pytest.mark.parametrize("tier", [1, 6])
def test_expert_solves_every_task(tier):
  environment, *sides = drawn(tier)
  horizon = environment.spec.horizon

  def follow(task, actions):
    state, _ = environment.reset(jax.random.key(0), task)

    def body(state, action):
      state, _, reward, terminated, _, info = environment.step(state, action)
      return state, (reward, terminated, info.action_valid)

    return jax.lax.scan(body, state, actions)[1]

  follow = jax.jit(jax.vmap(follow))
  for tasks in sides:
    size = len(tasks.task_type)
    plans = [expert_actions(one(tasks, row)) for row in range(size)]
    lengths = np.array([len(plan) for plan in plans])
    assert lengths.min() >= 4 and lengths.max() <= 10 < horizon
    if tier == 1:
      assert lengths.max() <= 6
    actions = np.zeros((size, 10), np.int32)
    for row, plan in enumerate(plans):
      actions[row, : len(plan)] = plan
    reward, terminated, valid = follow(tasks, actions)
    steps = np.arange(10)
    inside = steps < lengths[:, None]
    last = steps == lengths[:, None] - 1
    np.testing.assert_array_equal(reward[inside], last[inside])
    np.testing.assert_array_equal(terminated[inside], last[inside])
    assert valid[inside].all()


def test_expert_tells_a_task_without_solution():
  _, tasks, _ = drawn(1)
  task = one(tasks, 0)
  with pytest.raises(ValueError, match="no solution"):
    expert_actions(task.replace(object_types=0 * task.object_types - 1))


def test_split_is_exact():
  environment, training, evaluation = drawn(1)
  fingerprint_of = jax.jit(jax.vmap(environment.task_fingerprint))
  sides = [fingerprint_of(training), fingerprint_of(evaluation)]
  assert not is_evaluation_side(sides[0]).any()
  assert is_evaluation_side(sides[1]).all()
  names = [set(map(tuple, np.asarray(side).tolist())) for side in sides]
  assert not names[0] & names[1]
  assert len(names[0]) > 0.98 * SIZE and len(names[1]) == 128


def test_fingerprint_tells_tasks_apart():
  environment, tasks, _ = drawn(1)
  prints = np.asarray(jax.vmap(environment.task_fingerprint)(tasks))
  layouts = np.concatenate(
    [leaf.reshape(SIZE, -1) for leaf in jax.tree.leaves(tasks)], axis=1
  )
  assert len(np.unique(prints, axis=0)) == len(np.unique(layouts, axis=0))


def test_deterministic_traced_once_and_alive_past_the_end():
  environment, tasks, _ = drawn(1)
  task = one(tasks, 3)
  chex.clear_trace_counter()
  reset = jax.jit(environment.reset)
  step = jax.jit(chex.assert_max_traces(environment.step, 1))
  step_two = jax.jit(jax.vmap(environment.step))
  state, _ = reset(jax.random.key(0), task)
  chex.assert_trees_all_equal(state, reset(jax.random.key(1), task)[0])
  for action in expert_actions(task)[:3]:
    action = jnp.int32(action)
    results = step(state, action)
    chex.assert_trees_all_equal(results, step(state, action))
    two = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), (state, action))
    chex.assert_trees_all_equal(one(step_two(*two), 1), results)
    state = results[0]
  assert not results[4]
  # An inadmissible action at the last moment, and one after it.
  state = state.replace(clock=jnp.int32(environment.spec.horizon - 1))
  for _ in range(2):
    state, _, reward, terminated, truncated, _ = step(state, state.agent)
    assert truncated and not terminated and reward == 0


@pytest.mark.parametrize(
  "tier", [1, pytest.param(2, marks=pytest.mark.slow), 6]
)
def test_panel_is_locked(tier):
  _, _, panel = drawn(tier)
  assert panel_sha256(panel) == PANELS[tier]


def test_first_tier_is_neither_trivial_nor_hopeless_by_chance():
  environment, tasks, _ = drawn(1)

  def play(task, key):
    state, observation = environment.reset(key, task)

    def body(carry, key):
      state, mask = carry
      action = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf))
      state, observation, reward, *_ = environment.step(state, action)
      return (state, observation.action_mask), reward

    keys = jax.random.split(key, environment.spec.horizon)
    _, rewards = jax.lax.scan(body, (state, observation.action_mask), keys)
    return jnp.max(rewards)

  repeats = 4
  tasks = jax.tree.map(lambda leaf: np.concatenate([leaf] * repeats), tasks)
  keys = jax.random.split(jax.random.key(1), SIZE * repeats)
  rate = jnp.mean(jax.jit(jax.vmap(play))(tasks, keys))
  assert 0.03 < rate < 0.08
