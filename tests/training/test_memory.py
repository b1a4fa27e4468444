"""Training with a memory: revisited tasks, kept over checkpoint and mesh."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.training import (
  checkpoint,
  environment_experiment,
  loop,
  memory,
  memory_settings,
  settings,
  update,
)
from graphgpo_jax.training import state as state_lib
from tests.training import tiny

# Whole runs: test-all.
pytestmark = pytest.mark.slow

POOL, UPDATES = 4, 5
SEED = 1


def make_config(**changes):
  return tiny.make_config(
    **{
      "estimator": "tigpo",
      "num_updates": UPDATES,
      "memory__pool_size": POOL,
      "memory__max_edges": 24,
      "memory__max_age": 6,
      "memory__fade": 1.5,
      "memory__fade_after": 1,
      **changes,
    }
  )


@functools.cache
def experiment():
  return environment_experiment.Experiment(make_config())


def fresh_state():
  return loop.initial_state(experiment(), SEED)


def run(state, estimator="tigpo"):
  """The states and metrics of the updates that are left."""
  return [
    (jax.device_get(after), metrics)
    for after, metrics in loop.iterate(
      experiment(), state, seed=SEED, estimator=estimator
    )
  ]


@functools.cache
def unbroken():
  return run(fresh_state())


def test_the_pool_is_visited_in_turn():
  for pool_size, tasks in ((8, 4), (6, 4), (4, 4)):
    rounds = [
      memory.visited(
        jnp.int32(step), pool_size=pool_size, tasks_per_update=tasks
      ).tolist()
      for step in range(12)
    ]
    assert all(len(set(slots)) == tasks for slots in rounds)
    order = [slot for slots in rounds for slot in slots]
    assert order == [k % pool_size for k in range(12 * tasks)]
  far = memory.visited(jnp.int32(2**31 - 1), pool_size=8, tasks_per_update=4)
  assert far.tolist() == [4, 5, 6, 7]


def test_without_a_pool_there_is_no_memory():
  config = make_config(memory__pool_size=0)
  assert memory_settings.make_initial_memory(config, None)(None) is None
  assert memory_settings.make_access(config, None) == (None, None)
  assert settings.default_config().memory.pool_size == 0
  optimizer = state_lib.make_optimizer(learning_rate=0.1)
  created = state_lib.create_state(
    lambda key: jnp.zeros(2), optimizer, jax.random.key(0)
  )
  assert created.memory is None


@pytest.mark.slow
def test_tasks_come_back_and_are_remembered():
  states = unbroken()
  start = states[0][0].memory
  assert start.store.visits.tolist() == [0] * POOL
  assert not start.store.mask.any()
  per_round = POOL // tiny.TASKS
  for updates, (state, metrics) in enumerate(states[1:], start=1):
    chex.assert_trees_all_equal(state.memory.tasks, start.tasks)
    order = [k % POOL for k in range(updates * tiny.TASKS)]
    visits = np.bincount(order, minlength=POOL)
    assert state.memory.store.visits.tolist() == visits.tolist()
    known = metrics["memory/known_states"]
    assert 0 < known <= 1 if updates > per_round else known == 0
    assert metrics["memory/edges"] > 0
    assert metrics["memory/evicted"] >= 0
    assert 0 <= metrics["memory/mean_age"] < visits.max()
    assert 0 <= metrics["memory/helped_groups"] <= tiny.TASKS
  store = states[-1][0].memory.store
  assert store.mask.any(axis=1).all()
  assert store.scores_mask.any(axis=1).all()
  # The keys are the tasks'.
  keys = jax.vmap(experiment().environment.task_fingerprint)(start.tasks)
  np.testing.assert_array_equal(store.key, keys)


@pytest.mark.slow
def test_rollouts_are_of_the_visited_tasks():
  built, state = experiment(), fresh_state()
  for step in (0, 1, 2):
    tasks, graphs = built.recall(state.memory, jnp.int32(step))
    slots = memory.visited(step, pool_size=POOL, tasks_per_update=tiny.TASKS)
    expected = jax.tree.map(lambda leaf, at=slots: leaf[at], state.memory.tasks)
    chex.assert_trees_all_equal(tasks, expected)
    rollouts, _ = built.collect(state.params, jax.random.key(step), tasks)
    np.testing.assert_array_equal(rollouts.task_key, graphs.key)


def test_what_is_stored_shapes_credit():
  """The same rollouts, with and without what an earlier visit has seen."""
  built, state = experiment(), fresh_state()
  tasks, blank = built.recall(state.memory, jnp.int32(0))
  assign = built.assign("tigpo")
  for seed in range(40):
    earlier, _ = built.collect(state.params, jax.random.key(seed), tasks)
    if not earlier.success.any():
      continue
    known = assign(earlier, blank)[2]
    now, _ = built.collect(state.params, jax.random.key(seed + 1), tasks)
    with_memory, metrics, _ = assign(now, known)
    without, _, _ = assign(now, blank)
    if metrics["memory/helped_groups"] > 0:
      break
  else:
    raise AssertionError("no group was helped in 40 draws")
  assert np.asarray(with_memory != without).any()
  assert metrics["memory/known_states"] > 0
  won = np.asarray(now.success).any(axis=1)
  assert np.asarray(with_memory)[~won].any()


@pytest.mark.slow
def test_an_estimator_without_memory_plays_the_pool():
  (_, _), (after, metrics), *_ = run(fresh_state(), "graphgpo")
  start = unbroken()[0][0].memory
  chex.assert_trees_all_equal(after.memory, start)
  assert not any(name.startswith("memory/") for name in metrics)
  # Nothing is known yet, so both play alike.
  first = unbroken()[1][1]
  for name in ("rollout/steps", "rollout/success", "credit/nonzero_advantages"):
    assert metrics[name] == first[name]


def test_a_resumed_run_is_the_unbroken_one(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path)
  stop = UPDATES - 1
  for state, _ in loop.iterate(
    experiment(), fresh_state(), seed=SEED, estimator="tigpo"
  ):
    if int(state.step) == stop:
      checkpoints.save(stop, state)
      break
  checkpoints.close()
  reopened = checkpoint.Checkpoints(tmp_path)
  restored = reopened.restore(loop.initial_state(experiment(), SEED + 1))
  reopened.close()
  expected = unbroken()
  assert isinstance(restored.memory, memory.PoolMemory)
  chex.assert_trees_all_equal(jax.device_get(restored), expected[stop][0])
  (rest,) = run(tiny.uncommitted(restored))
  chex.assert_trees_all_equal(rest[0], expected[-1][0])
  assert tiny.without_times(rest[1]) == tiny.without_times(expected[-1][1])


def test_programs_are_compiled_once():
  unbroken()
  built = experiment()
  for program in (
    built.recall,
    built.remember,
    built.collect,
    built.assign("tigpo"),
    built.optimise,
  ):
    assert program._cache_size() == 1


@pytest.mark.slow
def test_composition_equals_its_phases():
  composed = jax.jit(
    chex.assert_max_traces(n=1)(update.compose(experiment().phases("tigpo"))),
    donate_argnums=0,
  )
  state, key = fresh_state(), jax.random.key(SEED)
  for expected, values in unbroken()[1:]:
    given = state
    state, metrics = composed(state, key)
    chex.assert_trees_all_close(state, expected, atol=1e-6)
    for name, value in jax.device_get(metrics).items():
      np.testing.assert_allclose(value, values[name], rtol=1e-4, atol=1e-6)
    # The buffers were given away, the store's among them.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))


@pytest.mark.slow
def test_several_devices_remember_what_one_does():
  devices = 2
  several = environment_experiment.Experiment(make_config(mesh__data=devices))
  start = loop.initial_state(several, SEED)
  expected = unbroken()
  for state, metrics in loop.iterate(
    several, start, seed=SEED, estimator="tigpo"
  ):
    for leaf in jax.tree.leaves(state):
      assert leaf.sharding.is_fully_replicated
      assert len(leaf.sharding.device_set) == devices
    one, values = expected[int(state.step)]
    chex.assert_trees_all_close(
      jax.device_get(state.memory), one.memory, atol=1e-6
    )
    for name, value in tiny.without_times(metrics).items():
      np.testing.assert_allclose(
        value, values[name], rtol=1e-4, atol=1e-5, err_msg=name
      )
  for program in (several.recall, several.remember, several.optimise):
    assert program._cache_size() == 1


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"memory__pool_size": -1}, r"memory\.pool_size must be at least 0"),
    ({"memory__pool_size": 1}, r"pool_size=1 must be at least .*update=2"),
    ({"memory__max_edges": 0}, r"memory\.max_edges must be at least 1"),
    ({"memory__max_age": -1}, r"memory\.max_age must be at least 0"),
    ({"memory__fade": 0.9}, r"memory\.fade must be at least 1, got 0\.9"),
    ({"memory__fade_after": -1}, r"memory\.fade_after must be at least 0"),
    ({"memory__estimators": ("ppo",)}, r"names 'ppo', which does not exist"),
    ({"rollout__max_resamples": 1}, r"max_resamples must be 0"),
    ({"environment__pool_size": 8}, r"environment\.pool_size must be 0"),
  ],
)
def test_a_memory_that_does_not_fit_is_refused(changes, message):
  config = make_config()
  with config.unlocked():
    config.update_from_flattened_dict(
      {name.replace("__", "."): value for name, value in changes.items()}
    )
    for name, value in changes.items():
      if name.startswith("environment__"):
        config.environment[name.removeprefix("environment__")] = value
  with pytest.raises(ValueError, match=message):
    settings.check_config(config)


def test_given_tasks_cannot_be_replaced():
  collect = update.make_collect(
    None, None, tasks_per_update=2, rollouts_per_task=2, max_resamples=1
  )
  with pytest.raises(ValueError, match="max_resamples must be 0"):
    collect(None, jax.random.key(0), ())
