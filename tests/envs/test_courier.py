"""The fast way of the household and what it costs."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.household import Household, expert_actions, viewer
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.panels import make_panel, panel_sha256

# Whole runs: test-all.
pytestmark = pytest.mark.slow

TASKS = 64


@functools.cache
def sampled(tier):
  keys = jax.random.split(jax.random.key(11), TASKS)
  sample = jax.jit(jax.vmap(Household(tier=tier).sample_task))
  return jax.device_get(sample(keys))


@functools.cache
def drawn(tier, fast_cost=1.0):
  environment = Household(
    tier=tier, courier=True, step_cost=1.0, fast_cost=fast_cost
  )
  return environment, sampled(tier), jax.jit(environment.step)


def one(tasks, row):
  return jax.tree.map(lambda leaf: leaf[row], tasks)


def follow(environment, step, task, actions):
  """Cost of a plan, and whether its last step alone solved the task."""
  state, _ = environment.reset(jax.random.key(0), task)
  costs, wins = [], []
  for action in actions:
    state, _, _, _, _, info = step(state, jnp.int32(action))
    assert info.action_valid
    costs.append(float(info.cost))
    wins.append(bool(info.success))
  assert wins == [False] * (len(actions) - 1) + [True]
  return sum(costs)


def verb(environment, name):
  return environment.spec.num_pointer_actions + words.VERBS.index(name)


def fast_plan(environment, task):
  """The courier brings the object; the agent puts it where it belongs."""
  place = int(np.argmax(task.receptacle_types == task.goal_receptacle))
  plan = [environment.spec.num_actions - 1, place]
  if task.receptacle_types[place] >= words.FIRST_CLOSABLE:
    plan.append(verb(environment, "open"))
  return [*plan, verb(environment, "put")]


@pytest.mark.slow
@pytest.mark.parametrize(
  "fast_cost, fast_is_cheaper", [(1.0, True), (8.0, False)]
)
def test_by_time_the_fast_way_is_cheaper_by_money_the_slow_one(
  fast_cost, fast_is_cheaper
):
  environment, tasks, step = drawn(1, fast_cost)
  for row in range(16):
    task = one(tasks, row)
    slow, fast = expert_actions(task), fast_plan(environment, task)
    assert len(fast) < len(slow)
    slow_cost = follow(environment, step, task, slow)
    cost = follow(environment, step, task, fast)
    assert slow_cost == len(slow)
    assert cost == len(fast) - 1 + fast_cost
    assert (cost < slow_cost) == fast_is_cheaper


def test_brings_the_goals_object_and_changes_nothing_else():
  environment, tasks, step = drawn(6)
  assert environment.hidden
  courier = jnp.int32(environment.spec.num_actions - 1)
  for row in range(16):
    task = one(tasks, row)
    state, seen = environment.reset(jax.random.key(0), task)
    assert seen.action_mask[courier]
    after, seen, reward, terminated, _, info = step(state, courier)
    wanted = np.flatnonzero(task.object_types == task.goal_object)
    (held,) = np.flatnonzero(np.asarray(after.locations) == words.HELD)
    assert held == wanted[0]
    assert info.action_valid and not reward and not terminated
    assert (
      after.seen[held]
      and seen.token_mask[1 + len(task.receptacle_types) + held]
    )
    chex.assert_trees_all_equal(
      after.replace(locations=state.locations, seen=state.seen),
      state.replace(clock=state.clock + 1),
    )
    # With the hand full nothing comes, and a step costs what a step costs.
    again, seen, _, _, _, info = step(after, courier)
    assert not seen.action_mask[courier] and not info.action_valid
    chex.assert_trees_all_equal(again, after.replace(clock=after.clock + 1))


def test_does_not_take_away_what_is_in_its_place():
  environment, tasks, step = drawn(6)
  rows = np.flatnonzero(tasks.task_type == words.PICK_TWO)
  assert len(rows) >= 4
  for row in rows[:4]:
    task = one(tasks, row)
    plan = fast_plan(environment, task)
    # The second time it brings the other one; the agent is there already.
    follow(environment, step, task, [*plan, plan[0], plan[-1]])


@pytest.mark.slow
def test_without_the_courier_the_world_is_what_it_was():
  plain, fast = Household(), Household(courier=True, fast_cost=3.0)
  assert plain.spec.num_actions + 1 == fast.spec.num_actions
  assert not plain.spec.has_costs and plain.spec.action_groups == ()
  assert fast.spec.has_costs
  last = fast.spec.num_actions - 1
  assert fast.spec.action_groups == (("courier", (last,)),)
  assert Household(step_cost=2.0).spec.has_costs
  shas = {
    panel_sha256(make_panel(world, seed=3, size=8)) for world in (plain, fast)
  }
  assert len(shas) == 1
  task = one(drawn(1)[1], 0)
  states = [world.reset(jax.random.key(0), task)[0] for world in (plain, fast)]
  steps = [jax.jit(world.step) for world in (plain, fast)]
  for action in (*expert_actions(task), plain.spec.num_actions - 1):
    results = [
      step(state, jnp.int32(action))
      for step, state in zip(steps, states, strict=True)
    ]
    states = [result[0] for result in results]
    chex.assert_trees_all_equal(states[0], states[1])
    chex.assert_trees_all_equal(results[0][1].tokens, results[1][1].tokens)
    chex.assert_trees_all_equal(results[0][2:], results[1][2:])
    chex.assert_trees_all_equal(
      plain.state_key(states[0]), fast.state_key(states[1])
    )


def test_costs_of_steps_are_scaled():
  world = Household(step_cost=0.5)
  task = one(drawn(1)[1], 0)
  state, _ = world.reset(jax.random.key(0), task)
  info = world.step(state, jnp.int32(0))[-1]
  assert info.cost == 0.5 and info.cost.dtype == jnp.float32
  info = Household().step(state, jnp.int32(0))[-1]
  assert info.cost == 1 and info.cost.dtype == jnp.float32


@pytest.mark.parametrize(
  "name, options",
  [
    ("courier", {"courier": 1}),
    ("fast_cost=2.0 needs courier", {"fast_cost": 2.0}),
    ("fast_cost", {"courier": True, "fast_cost": -1.0}),
    ("fast_cost", {"courier": True, "fast_cost": float("nan")}),
    ("step_cost", {"step_cost": float("inf")}),
    ("step_cost", {"step_cost": "1"}),
    ("step_cost", {"step_cost": True}),
  ],
)
def test_arguments_are_checked_by_name(name, options):
  with pytest.raises(ValueError, match=f"^{name}"):
    Household(**options)


def test_is_told_in_sentences():
  environment, tasks, _ = drawn(1)
  courier = environment.spec.num_actions - 1
  task = one(tasks, 0)
  text = viewer.render_episode(
    environment, task, [courier, courier, 0, courier]
  )
  thing = words.OBJECT_TYPES[int(task.goal_object)]
  calls = text.split("> send courier\n")
  assert calls[1].startswith(f"The courier brings you the {thing} 1.")
  assert calls[2].startswith("Nothing happens.")
  assert calls[3].startswith("Nothing happens.")
