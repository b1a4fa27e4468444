"""Goals that move: the task stays solvable, its names stay what they were."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs import changing, slippery
from graphgpo_jax.envs.household import Household, expert_actions, rules
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.split import is_evaluation_side

# Whole runs: test-all.
pytestmark = pytest.mark.slow

TASKS = 128


@functools.cache
def drawn(tier):
  environment = Household(tier=tier)
  keys = jax.random.split(jax.random.key(17), TASKS)
  tasks = jax.device_get(jax.jit(jax.vmap(environment.sample_task))(keys))
  moved, can = jax.device_get(
    jax.jit(
      jax.vmap(lambda task: (changing.move_goal(task), changing.can_move(task)))
    )(tasks)
  )
  return environment, tasks, moved, can


def one(tasks, row):
  return jax.tree.map(lambda leaf: leaf[row], tasks)


def new_goal(task):
  """Where the goal should move to, by lists; None for nowhere."""
  goal_things = task.object_types == task.goal_object
  taken = set(task.receptacle_types[task.locations[goal_things]].tolist())
  free = [
    int(kind)
    for kind in task.receptacle_types
    if kind != task.goal_receptacle
    and int(kind) not in taken
    and words.GOAL_RECEPTACLES[task.task_type, kind]
  ]
  lives = [kind for kind in free if words.PLAUSIBLE[task.goal_object, kind]]
  return (lives + free + [None])[0]


@pytest.mark.parametrize("tier", [1, 6])
def test_goals_move_to_another_place_of_the_room(tier):
  _, tasks, moved, can = drawn(tier)
  goals = [new_goal(one(tasks, row)) for row in range(TASKS)]
  np.testing.assert_array_equal(can, [goal is not None for goal in goals])
  expected = [
    old if goal is None else goal
    for goal, old in zip(goals, tasks.goal_receptacle, strict=True)
  ]
  np.testing.assert_array_equal(moved.goal_receptacle, expected)
  chex.assert_trees_all_equal(
    moved.replace(goal_receptacle=tasks.goal_receptacle), tasks
  )
  assert can.mean() > 0.6
  assert not can[tasks.task_type == words.LOOK].any()
  assert not any(
    rules.goal_holds(rules.start(one(moved, row))) for row in range(8)
  )


def test_names_stay_and_the_goal_is_elsewhere():
  household, tasks, moved, can = drawn(6)
  before = changing.MovingGoal(household, moved=False)
  after = changing.MovingGoal(household, moved=True)
  steps = [jax.jit(world.step) for world in (before, after)]
  key_of = jax.jit(before.state_key)
  for row in np.flatnonzero(can)[:8]:
    task = one(tasks, row)
    chex.assert_trees_all_equal(
      before.task_fingerprint(task), after.task_fingerprint(task)
    )
    for plan, right in (
      (expert_actions(task), 0),
      (expert_actions(one(moved, row)), 1),
    ):
      starts = [
        world.reset(jax.random.key(0), task) for world in (before, after)
      ]
      states = [state for state, _ in starts]
      # The policy is told the goal as it is.
      assert (starts[0][1].tokens != starts[1][1].tokens).any()
      names = {tuple(np.asarray(key_of(states[0])).tolist())}
      wins = [False, False]
      for action in plan:
        results = [
          step(state, jnp.int32(action))
          for step, state in zip(steps, states, strict=True)
        ]
        states = [result[0] for result in results]
        keys = [np.asarray(key_of(state)) for state in states]
        np.testing.assert_array_equal(keys[0], keys[1])
        names.add(tuple(keys[0].tolist()))
        wins = [
          won | bool(result[-1].success)
          for won, result in zip(wins, results, strict=True)
        ]
      assert wins == [right == 0, right == 1]
      assert len(names) == len(plan) + 1


def test_one_program_plays_both():
  household, tasks, moved, can = drawn(6)
  row = int(np.flatnonzero(can)[0])

  @jax.jit
  @chex.assert_max_traces(n=1)
  def start(task, is_moved):
    world = changing.MovingGoal(household, moved=is_moved)
    return world.reset(jax.random.key(0), task)[0].task

  task = one(tasks, row)
  chex.assert_trees_all_equal(start(task, jnp.asarray(False)), task)
  chex.assert_trees_all_equal(start(task, jnp.asarray(True)), one(moved, row))


@pytest.mark.slow
def test_training_tasks_can_all_move():
  household, _, _, can = drawn(1)
  assert not can.all()
  world = changing.MovingGoal(household, moved=True)
  keys = jax.random.split(jax.random.key(2), 64)
  tasks = jax.jit(jax.vmap(world.sample_task))(keys)
  assert jax.vmap(changing.can_move)(tasks).all()
  prints = jax.vmap(household.task_fingerprint)(tasks)
  assert not is_evaluation_side(prints).any()
  assert len(np.unique(prints, axis=0)) > 60


def test_a_world_that_changes_may_slip():
  household, tasks, moved, can = drawn(6)
  row = int(np.flatnonzero(can)[0])
  world = slippery.Slippery(
    changing.MovingGoal(household, moved=True), slip=0.2
  )
  state, _ = world.reset(jax.random.key(0), one(tasks, row))
  chex.assert_trees_all_equal(state.world.task, one(moved, row))
  np.testing.assert_array_equal(
    world.state_key(state),
    changing.MovingGoal(household, moved=False).state_key(
      household.reset(jax.random.key(0), one(tasks, row))[0]
    ),
  )
