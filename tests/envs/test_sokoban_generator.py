"""Tasks of the Sokoban generator, their split and their panels."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.panels import make_panel, panel_sha256
from graphgpo_jax.envs.sokoban import (
  Sokoban,
  level_to_text,
  read_levels,
  shortest_solution,
)
from graphgpo_jax.envs.sokoban.generator import carve_room
from graphgpo_jax.envs.sokoban.types import NO_ACTION
from graphgpo_jax.envs.split import is_evaluation_side, sample_from_side

SMALL = Sokoban(height=6, width=6, num_boxes=1, horizon=30)
MIDDLE = Sokoban(height=7, width=7, num_boxes=2, horizon=60)
LARGE = Sokoban(height=10, width=10, num_boxes=3, horizon=120)


BATCH = 500


@functools.cache
def sampler(env):
  return jax.jit(jax.vmap(env.sample_task))


@functools.cache
def sample(env, seed=0):
  return sampler(env)(jax.random.split(jax.random.key(seed), BATCH))


@functools.cache
def panel_of(env):
  return make_panel(env, seed=2026, size=128)


@functools.cache
def player(env):
  """Plays the solutions of a batch; outputs are [T, tasks]."""

  def play(task):
    state, _ = env.reset(jax.random.key(0), task)

    def step(state, action):
      state, _, reward, terminated, truncated, info = env.step(
        state, jnp.maximum(action, 0)
      )
      return state, (reward, terminated, truncated, info.action_valid)

    return jax.lax.scan(step, state, task.solution)[1]

  return jax.jit(jax.vmap(play, out_axes=1))


@pytest.mark.parametrize(
  ("env", "batches"),
  [(SMALL, 6), (MIDDLE, 2), pytest.param(LARGE, 2, marks=pytest.mark.slow)],
)
def test_solutions_solve_with_their_last_action_and_not_before(env, batches):
  t = np.arange(env.spec.horizon)[:, None]
  for seed in range(batches):
    tasks = jax.device_get(sample(env, seed))
    length = tasks.solution_length
    assert length.min() >= 2 and length.max() <= env.spec.horizon
    played = player(env)(tasks)
    reward, terminated, truncated, valid = jax.device_get(played)
    np.testing.assert_array_equal(np.argmax(terminated, axis=0) + 1, length)
    assert terminated[length - 1, np.arange(BATCH)].all()
    assert (reward[length - 1, np.arange(BATCH)] == 1.0).all()
    assert (np.where(t < length - 1, reward, 0.0) == 0.0).all()
    assert np.where(t < length, valid, True).all()
    assert not np.where(t < length, truncated, False).any()
    solution = tasks.solution.T
    assert (np.where(t < length, solution, 0) >= 0).all()
    assert (np.where(t >= length, solution, NO_ACTION) == NO_ACTION).all()


@pytest.mark.parametrize(
  "env", [SMALL, MIDDLE, pytest.param(LARGE, marks=pytest.mark.slow)]
)
def test_tasks_are_closed_rooms_with_boxes_off_targets(env):
  tasks = jax.device_get(sample(env))
  walls, targets, boxes = tasks.walls, tasks.targets, tasks.boxes
  assert walls[:, [0, -1]].all() and walls[:, :, [0, -1]].all()
  assert (targets.sum((1, 2)) == env.num_boxes).all()
  assert (boxes.sum((1, 2)) == env.num_boxes).all()
  assert not (boxes & (walls | targets)).any() and not (walls & targets).any()
  solid = (walls | boxes).reshape(BATCH, -1)
  assert not solid[np.arange(BATCH), tasks.player].any()


def test_rooms_are_connected():
  words = jax.random.bits(jax.random.key(0), (30, 40))
  carve = jax.vmap(functools.partial(carve_room, height=8, width=7))
  for walls in np.asarray(carve(words)):
    seen = np.zeros_like(walls)
    seen[tuple(np.argwhere(~walls)[0])] = True
    for _ in range(walls.size):
      spread = seen.copy()
      spread[1:] |= seen[:-1]
      spread[:-1] |= seen[1:]
      spread[:, 1:] |= seen[:, :-1]
      spread[:, :-1] |= seen[:, 1:]
      seen = spread & ~walls
    np.testing.assert_array_equal(seen, ~walls)


@pytest.mark.parametrize(("env", "count"), [(SMALL, 100), (MIDDLE, 5)])
def test_no_solution_is_shorter_than_the_optimum(env, count):
  tasks = jax.device_get(sample(env))
  optimum = []
  shortest = np.full_like(tasks.solution, NO_ACTION)
  for row in range(count):
    task = jax.tree.map(lambda leaf, row=row: leaf[row], tasks)
    best = shortest_solution(task, int(task.solution_length))
    assert best is not None and len(best) >= 2
    assert shortest_solution(task, len(best) - 1) is None
    optimum.append(len(best))
    shortest[row, : len(best)] = best
  terminated = np.asarray(player(env)(tasks.replace(solution=shortest))[1])
  np.testing.assert_array_equal(
    np.argmax(terminated[:, :count], axis=0) + 1, optimum
  )
  assert terminated[:, :count].any(axis=0).all()
  # What the task carries is a bound, not the optimum itself.
  assert (tasks.solution_length[:count] > optimum).any()


def test_sampling_one_task_equals_sampling_a_batch():
  keys = jax.random.split(jax.random.key(0), BATCH)
  single = jax.jit(chex.assert_max_traces(SMALL.sample_task, n=1))
  for row in range(4):
    expected = jax.tree.map(lambda leaf, row=row: leaf[row], sample(SMALL))
    chex.assert_trees_all_equal(single(keys[row]), expected)


# A 6x6 room has 16 inner cells, so its tasks come again now and then.
@pytest.mark.parametrize(
  ("env", "distinct"), [(SMALL, 0.8 * BATCH), (MIDDLE, 0.98 * BATCH)]
)
def test_tasks_are_diverse_and_the_split_is_exact(env, distinct):
  name = jax.jit(jax.vmap(env.task_fingerprint))
  train, held_out = name(sample(env)), name(panel_of(env))
  assert len(np.unique(train, axis=0)) > distinct
  assert (np.asarray(train)[:, 0] % 8 != 0).all()
  assert (np.asarray(held_out)[:, 0] % 8 == 0).all()
  assert is_evaluation_side(held_out).all()


@pytest.mark.parametrize("env", [SMALL, MIDDLE])
def test_tasks_round_trip_through_text(env):
  tasks = jax.device_get(sample(env))
  for row in range(3):
    task = jax.tree.map(lambda leaf, row=row: leaf[row], tasks)
    state, _ = env.reset(jax.random.key(0), task)
    assert level_to_text(state) == level_to_text(task)
    (again,) = read_levels(level_to_text(task))
    for field in ("walls", "targets", "boxes", "player"):
      np.testing.assert_array_equal(again[field], task[field])


def test_task_fingerprint_reads_the_layout_alone():
  task = jax.tree.map(lambda leaf: leaf[0], sample(SMALL))
  name = SMALL.task_fingerprint(task)
  unsolved = task.replace(
    solution=task.solution + 1, solution_length=task.solution_length + 1
  )
  chex.assert_trees_all_equal(SMALL.task_fingerprint(unsolved), name)
  for field in ("walls", "targets", "boxes"):
    grid = getattr(task, field)
    other = task.replace(**{field: grid.at[2, 3].set(~grid[2, 3])})
    assert (SMALL.task_fingerprint(other) != name).any()
  other = task.replace(player=task.player + 1)
  assert (SMALL.task_fingerprint(other) != name).any()


@pytest.mark.parametrize("evaluation", [False, True])
def test_sample_from_side_keeps_the_distribution_within_the_side(evaluation):
  def draw(key):
    return jax.random.randint(key, (), 0, 64)

  def name(task):
    return jnp.stack([task, task]).astype(jnp.uint32)

  def pick(key):
    return sample_from_side(
      draw,
      name,
      key,
      evaluation=evaluation,
      accept=lambda task: task < 32,
    )

  drawn = jax.jit(jax.vmap(pick))(jax.random.split(jax.random.key(0), 4000))
  values, counts = np.unique(np.asarray(drawn), return_counts=True)
  expected = [v for v in range(32) if (v % 8 == 0) == evaluation]
  np.testing.assert_array_equal(values, expected)
  mean = 4000 / len(expected)
  assert (abs(counts - mean) < 5 * mean**0.5).all()


@pytest.mark.parametrize(
  ("env", "sha256"),
  [
    (SMALL, "db55c0d27e75d4ec2d584338ec766fc24abc57823f9f09b5cf4f0860fd543c4c"),
    (
      MIDDLE,
      "be3076a15210426b7fc5384248af7201172a7f67e0badc6319bacb719927a995",
    ),
  ],
)
def test_panels_are_locked(env, sha256):
  panel = panel_of(env)
  chex.assert_tree_shape_prefix(panel, (128,))
  names = np.asarray(jax.jit(jax.vmap(env.task_fingerprint))(panel))
  assert len(np.unique(names, axis=0)) == 128
  assert panel_sha256(panel) == sha256
  start = make_panel(env, seed=2026, size=5)
  chex.assert_trees_all_equal(start, jax.tree.map(lambda leaf: leaf[:5], panel))


def test_a_panel_larger_than_the_world_is_refused():
  class OneTask:
    def sample_evaluation_task(self, key):
      del key
      return jnp.zeros((), jnp.int32)

    def task_fingerprint(self, task):
      return jnp.stack([task, task]).astype(jnp.uint32)

  assert make_panel(OneTask(), seed=0, size=1).shape == (1,)
  with pytest.raises(ValueError, match="only 1 distinct"):
    make_panel(OneTask(), seed=0, size=2)
  with pytest.raises(ValueError, match="size must be positive"):
    make_panel(OneTask(), seed=0, size=0)


def test_panel_sha256_sees_values_shapes_and_types():
  names = {
    panel_sha256({"x": leaf})
    for leaf in (
      np.zeros((2, 3), np.int32),
      np.zeros((3, 2), np.int32),
      np.zeros((2, 3), np.uint32),
      np.ones((2, 3), np.int32),
    )
  }
  assert len(names) == 4
  big_endian = np.arange(4, dtype=">i4")
  assert panel_sha256(big_endian) == panel_sha256(np.arange(4, dtype="<i4"))
