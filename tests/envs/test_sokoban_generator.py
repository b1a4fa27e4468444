"""Tasks of the Sokoban generator, their split and their panels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.panels import make_panel, panel_sha256
from graphgpo_jax.envs.sokoban import Sokoban, shortest_solution
from graphgpo_jax.envs.sokoban.generator import carve_room
from graphgpo_jax.envs.sokoban.types import NO_ACTION
from graphgpo_jax.envs.split import is_evaluation_side, sample_from_side

SMALL = Sokoban(height=6, width=6, num_boxes=1, horizon=30)
MIDDLE = Sokoban(height=7, width=7, num_boxes=2, horizon=60)
LARGE = Sokoban(height=10, width=10, num_boxes=3, horizon=120)


def sample(env, count, seed=0):
  keys = jax.random.split(jax.random.key(seed), count)
  return jax.jit(jax.vmap(env.sample_task))(keys)


def play_solutions(env, tasks):
  """Outputs of all solutions, [T, tasks]."""

  def play(task):
    state, _ = env.reset(jax.random.key(0), task)

    def step(state, action):
      state, _, reward, terminated, truncated, info = env.step(
        state, jnp.maximum(action, 0)
      )
      return state, (reward, terminated, truncated, info.action_valid)

    return jax.lax.scan(step, state, task.solution)[1]

  return jax.device_get(jax.jit(jax.vmap(play, out_axes=1))(tasks))


@pytest.mark.parametrize(
  ("env", "count"), [(SMALL, 3000), (MIDDLE, 1000), (LARGE, 200)]
)
def test_solutions_solve_with_their_last_action_and_not_before(env, count):
  tasks = sample(env, count)
  length = np.asarray(tasks.solution_length)
  assert length.min() >= 2 and length.max() <= env.spec.horizon
  reward, terminated, truncated, valid = play_solutions(env, tasks)
  t = np.arange(env.spec.horizon)[:, None]
  np.testing.assert_array_equal(np.argmax(terminated, axis=0) + 1, length)
  assert (reward[length - 1, np.arange(count)] == 1.0).all()
  assert (np.where(t < length - 1, reward, 0.0) == 0.0).all()
  assert np.where(t < length, valid, True).all()
  assert not np.where(t < length, truncated, False).any()
  solution = np.asarray(tasks.solution).T
  assert (np.where(t < length, solution, 0) >= 0).all()
  assert (np.where(t >= length, solution, NO_ACTION) == NO_ACTION).all()


@pytest.mark.parametrize("env", [SMALL, MIDDLE, LARGE])
def test_tasks_are_closed_rooms_with_boxes_off_targets(env):
  tasks = jax.device_get(sample(env, 64))
  walls, targets, boxes = tasks.walls, tasks.targets, tasks.boxes
  assert walls[:, [0, -1]].all() and walls[:, :, [0, -1]].all()
  assert (targets.sum((1, 2)) == env.num_boxes).all()
  assert (boxes.sum((1, 2)) == env.num_boxes).all()
  assert not (boxes & (walls | targets)).any() and not (walls & targets).any()
  solid = (walls | boxes).reshape(64, -1)
  assert not solid[np.arange(64), tasks.player].any()


def test_rooms_are_connected():
  for seed in range(30):
    walls = np.asarray(carve_room(jax.random.key(seed), height=8, width=7))
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


@pytest.mark.parametrize(("env", "count"), [(SMALL, 60), (MIDDLE, 5)])
def test_no_solution_is_shorter_than_the_optimum(env, count):
  tasks = jax.device_get(sample(env, count, seed=5))
  longer = 0
  for row in range(count):
    task = jax.tree.map(lambda leaf, row=row: leaf[row], tasks)
    length = int(task.solution_length)
    best = shortest_solution(task, length)
    assert best is not None and 2 <= len(best) <= length
    assert shortest_solution(task, len(best) - 1) is None
    longer += length > len(best)
    actions = np.full((env.spec.horizon,), NO_ACTION, np.int32)
    actions[: len(best)] = best
    batch = jax.tree.map(
      lambda leaf: leaf[None], task.replace(solution=actions)
    )
    terminated = play_solutions(env, batch)[1][:, 0]
    assert np.argmax(terminated) + 1 == len(best) and terminated.any()
  # The optimum is not what the generator gives away.
  assert longer > 0


def test_sampling_is_the_same_under_jit_and_vmap():
  keys = jax.random.split(jax.random.key(2), 4)
  traced = chex.assert_max_traces(SMALL.sample_task, n=1)
  single = jax.jit(traced)
  tasks = jax.jit(jax.vmap(SMALL.sample_task))(keys)
  for row, key in enumerate(keys):
    expected = jax.tree.map(lambda leaf, row=row: leaf[row], tasks)
    chex.assert_trees_all_equal(single(key), expected)


def test_tasks_are_diverse():
  tasks = sample(MIDDLE, 256)
  names = jax.vmap(MIDDLE.task_fingerprint)(tasks)
  assert len(np.unique(names, axis=0)) > 250


@pytest.mark.parametrize("env", [SMALL, MIDDLE])
def test_the_split_is_exact(env):
  keys = jax.random.split(jax.random.key(0), 200)
  fingerprints = jax.vmap(env.task_fingerprint)
  train = fingerprints(jax.jit(jax.vmap(env.sample_task))(keys))
  held_out = fingerprints(jax.jit(jax.vmap(env.sample_evaluation_task))(keys))
  assert (np.asarray(train)[:, 0] % 8 != 0).all()
  assert (np.asarray(held_out)[:, 0] % 8 == 0).all()
  assert is_evaluation_side(held_out).all()


def test_task_fingerprint_reads_the_layout_alone():
  task = jax.tree.map(lambda leaf: leaf[0], sample(SMALL, 1))
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
    (SMALL, "SMALL_SHA"),
    (MIDDLE, "MIDDLE_SHA"),
  ],
)
def test_panels_are_locked(env, sha256):
  panel = make_panel(env, seed=2026, size=128)
  chex.assert_tree_shape_prefix(panel, (128,))
  names = np.asarray(jax.vmap(env.task_fingerprint)(panel))
  assert (names[:, 0] % 8 == 0).all()
  assert len(np.unique(names, axis=0)) == 128
  assert panel_sha256(panel) == sha256
  start = make_panel(env, seed=2026, size=5)
  chex.assert_trees_all_equal(
    start, jax.tree.map(lambda leaf: leaf[:5], panel)
  )


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
