"""True graphs against hand-made worlds, a solver and an expert."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import envs
from graphgpo_jax.envs import true_graph, types
from graphgpo_jax.envs.household import Household, expert_actions
from graphgpo_jax.envs.sokoban import Sokoban, read_levels, shortest_solution
from graphgpo_jax.envs.sokoban.types import cell_offsets, grids_of
from tests import oracle

# Whole runs: test-all.
pytestmark = pytest.mark.slow

WON, LOST = -1, -2
# From 0: action 0 goes round in a loop, action 1 goes on, action 2 falls into a
# hole (5); 3 has a dear way to the goal, 4 a free one; 6 ends the episode.
HAND_MADE = [[0, 1, 5], [2, 3, 0], [4, 2, 6], [WON, 1, 3], [3, 3, 4],
             [5, 5, 5], [0, 0, 0], [8, 8, 8], [7, WON, 7]]  # fmt: skip
ENDED = [6]


@chex.dataclass(frozen=True)
class Place:
  place: chex.Array
  clock: chex.Array
  chance: chex.PRNGKey


class TableWorld:
  """A world that a table tells: where each action leads, WON for success."""

  def __init__(self, table, *, ended=(), cost=None, clock_in_key=False):
    self.table = jnp.asarray(table)
    self.ended = jnp.isin(jnp.arange(len(table)), jnp.asarray(ended, int))
    self.cost = jnp.asarray(np.ones(self.table.shape) if cost is None else cost)
    self.clock_in_key = clock_in_key
    self.spec = types.EnvironmentSpec(
      name="table",
      num_tokens=1,
      feature_sizes=(1,),
      num_pointer_actions=0,
      pointer_start=0,
      num_fixed_actions=self.table.shape[1],
      horizon=3,
    )

  def reset(self, key, task):
    return Place(place=task, clock=jnp.int32(0), chance=key), None

  def step(self, state, action):
    target = self.table[state.place, action]
    success = target == WON
    place = jnp.where(success, state.place, target)
    after = Place(
      place=place,
      clock=state.clock + 1,
      chance=jax.random.split(state.chance)[0],
    )
    info = types.StepInfo(
      action_valid=jnp.bool_(True),
      success=success,
      cost=self.cost[state.place, action],
    )
    ended = success | self.ended[place]
    return after, None, success * 1.0, ended, after.clock > 3, info

  def state_key(self, state):
    clock = state.clock if self.clock_in_key else 0
    return jnp.stack([state.place, clock]).astype(jnp.uint32)


def key_of(place):
  return np.array([place, 0], np.uint32)


def explore(world, start=0, **options):
  return true_graph.explore(world, jnp.int32(start), **options)


def test_hand_made_world():
  graph = explore(TableWorld(HAND_MADE, ended=ENDED))
  # 7 and 8 cannot be reached from 0.
  assert graph.num_states == 7
  places = np.stack([key_of(place) for place in range(9)])
  np.testing.assert_array_equal(
    graph.distances_of(places),
    [3, 2, 3, 1, 2, np.inf, np.inf, np.inf, np.inf],
  )
  nodes = graph.nodes_of(places)
  assert nodes[0] == 1
  assert sorted(nodes[:7]) == list(range(1, 8))
  np.testing.assert_array_equal(nodes[7:], -1)
  # Where the rules end an episode nothing leads on, and so from SUCCESS.
  np.testing.assert_array_equal(graph.next_node[nodes[6]], -1)
  np.testing.assert_array_equal(graph.next_node[0], -1)
  np.testing.assert_array_equal(graph.next_node[nodes[1]], nodes[[2, 3, 0]])
  assert graph.next_node[nodes[3], 0] == 0
  best = graph.best_actions()
  np.testing.assert_array_equal(best[nodes[0]], [False, True, False])
  np.testing.assert_array_equal(best[nodes[4]], [True, True, False])
  for nothing in (0, nodes[5], nodes[6]):
    assert not best[nothing].any()


def test_costs_make_the_cheapest_way():
  cost = np.ones((9, 3))
  cost[3, 0], cost[1, 1], cost[2, 0] = 10.0, 5.0, 0.0
  table = [row[:] for row in HAND_MADE]
  table[4][2] = WON
  graph = explore(TableWorld(table, ended=ENDED, cost=cost))
  distance = graph.distances_of(np.stack([key_of(p) for p in range(5)]))
  np.testing.assert_array_equal(distance, [3, 2, 1, 3, 1])
  best = graph.best_actions()[graph.nodes_of(key_of(3))]
  # Back to 1, and not on to the dear goal.
  np.testing.assert_array_equal(best, [False, True, False])


def test_start_without_a_way():
  graph = explore(TableWorld(HAND_MADE, ended=ENDED), start=5)
  assert graph.num_states == 1
  assert graph.distance[1] == np.inf
  graph = explore(TableWorld([[WON]]))
  assert graph.num_states == 1 and graph.distance[1] == 1


@pytest.mark.parametrize("seed", range(8))
def test_random_worlds_equal_the_oracle(seed):
  rng = np.random.default_rng(seed)
  table = rng.integers(0, 30, (30, 2))
  table[rng.random(table.shape) < 0.06] = WON
  cost = rng.integers(0, 9, table.shape) / 4
  graph = explore(TableWorld(table, cost=cost))
  reached, waiting = {0}, [0]
  while waiting:
    for target in table[waiting.pop()].tolist():
      if target != WON and target not in reached:
        reached.add(target)
        waiting.append(target)
  edges = [
    (place, target if target != WON else oracle.SUCCESS, price)
    for place in reached
    for target, price in zip(table[place].tolist(), cost[place], strict=True)
  ]
  best = oracle.shortest_distances(edges)
  assert graph.num_states == len(reached)
  places = np.stack([key_of(place) for place in range(30)])
  np.testing.assert_array_equal(
    graph.distances_of(places),
    [best.get(p, math.inf) if p in reached else math.inf for p in range(30)],
  )


def test_many_calls_find_the_same_graph(monkeypatch):
  rng = np.random.default_rng(3)
  world = TableWorld(rng.integers(-1, 200, (200, 3)))
  whole = explore(world)
  monkeypatch.setattr(true_graph, "_TRANSITIONS_PER_CALL", 7)
  parts = explore(world)
  assert parts.num_states == whole.num_states > 100
  np.testing.assert_array_equal(
    parts.distances_of(whole.keys[1:]), whole.distance[1:]
  )


def test_limit_is_exact():
  world = TableWorld(HAND_MADE, ended=ENDED)
  assert explore(world, max_states=7).num_states == 7
  with pytest.raises(
    true_graph.TooManyStatesError, match="more than max_states=6 states"
  ):
    explore(world, max_states=6)
  with pytest.raises(ValueError, match="max_states must be at least 1, got 0"):
    explore(world, max_states=0)


def test_key_with_the_clock_hits_the_limit():
  world = TableWorld([[0, 0]], clock_in_key=True)
  with pytest.raises(true_graph.TooManyStatesError, match="without the clock"):
    explore(world, max_states=20)


def test_chance_is_refused():
  world = envs.make_environment("sokoban", slip=0.1)
  task = read_levels(LEVELS)[0]
  with pytest.raises(ValueError, match="expected slip 0, got 0.1"):
    true_graph.explore(world, task)


LEVELS = """; push
######
#    #
#@$. #
#    #
#    #
######

; corner
######
#.   #
#  $ #
#   @#
#    #
######

; hopeless
######
#$   #
#  . #
#   @#
#    #
######
"""


def plain_sokoban_states(task):
  """Positions that can be reached, by breadth-first search in Python."""
  walls, targets, boxes, player = grids_of(task)
  wall = walls.ravel()
  goal = frozenset(np.flatnonzero(targets).tolist())
  start = (player, frozenset(np.flatnonzero(boxes).tolist()))
  reached, waiting = {start}, [start]
  while waiting:
    here, crates = waiting.pop()
    for offset in cell_offsets(walls.shape[1]).tolist():
      front, moved = here + offset, crates
      if wall[front]:
        continue
      if front in crates:
        if wall[front + offset] or front + offset in crates:
          continue
        moved = crates - {front} | {front + offset}
      if moved != goal and (front, moved) not in reached:
        reached.add((front, moved))
        waiting.append((front, moved))
  return len(reached)


@pytest.mark.parametrize("index", range(3))
def test_sokoban_equals_the_solver(index):
  world = sokoban()
  task = read_levels(LEVELS)[index]
  graph = true_graph.explore(world, task)
  assert graph.num_states == plain_sokoban_states(task)
  rng = np.random.default_rng(index)
  state, _ = world.reset(jax.random.key(0), task)
  step = jitted_step(world)
  for _ in range(12):
    solution = shortest_solution(state, 60)
    expected = math.inf if solution is None else len(solution)
    assert graph.distances_of(world.state_key(state)) == expected
    after = step(state, jnp.int32(rng.integers(4)))
    if not after[5].success:
      state = after[0]


@pytest.mark.slow
def test_drawn_sokoban_rooms_equal_the_solver():
  world = sokoban()
  tasks = jax.jit(jax.vmap(world.sample_task))(
    jax.random.split(jax.random.key(1), 4)
  )
  for row in range(4):
    task = jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), tasks)
    graph = true_graph.explore(world, task)
    assert graph.distance[1] == len(shortest_solution(task, 60))
    assert graph.num_states == plain_sokoban_states(task)


@functools.cache
def sokoban():
  return Sokoban(height=6, width=6, num_boxes=1)


@functools.cache
def jitted_step(world):
  return jax.jit(world.step)


@functools.cache
def households(tier):
  """A small household, and four of its tasks."""
  world = Household(tier=tier, num_receptacles=3, num_objects=2)
  tasks = jax.device_get(
    jax.jit(jax.vmap(world.sample_task))(
      jax.random.split(jax.random.key(tier), 4)
    )
  )
  return world, [
    jax.tree.map(lambda leaf, row=row: leaf[row], tasks) for row in range(4)
  ]


@pytest.mark.parametrize("tier", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_household_is_as_far_as_the_expert_says(tier):
  world, tasks = households(tier)
  step = jitted_step(world)
  for task in tasks:
    graph = true_graph.explore(world, task)
    # Not only a bound: the expert's solutions are shortest ones.
    assert graph.distance[1] == len(expert_actions(task))
    # The best actions keep what the distance promises.
    state, _ = world.reset(jax.random.key(0), task)
    best, node = graph.best_actions(), 1
    for left in range(int(graph.distance[1]), 0, -1):
      assert graph.distances_of(world.state_key(state)) == left
      action = int(np.flatnonzero(best[node])[-1])
      state, _, _, _, _, info = step(state, jnp.int32(action))
      node = graph.next_node[node, action]
    assert node == 0 and info.success


def test_household_too_large_is_said():
  world, tasks = households(1)
  with pytest.raises(
    true_graph.TooManyStatesError, match="more than max_states=50 states"
  ):
    true_graph.explore(world, tasks[0], max_states=50)
