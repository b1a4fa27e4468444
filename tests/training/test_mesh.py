"""The update on several devices against the update on one."""

import functools

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.training import loop, settings
from graphgpo_jax.training import mesh as mesh_lib
from tests.training import tiny

DEVICES = 4
UPDATES = 2


@functools.cache
def experiment(data):
  return settings.Experiment(
    tiny.make_config(
      num_updates=UPDATES,
      mesh__data=data,
      rollout__tasks_per_update=8,
      panel__size=8,
      rollout__chunk_size=4,
      loss__chunk_size=16,
      # No step's advantage may be 0 only because its group had no success.
      estimator_options__graphgpo__penalty_only_with_success=False,
    )
  )


@functools.cache
def batch(data):
  """Rollouts, advantages and the state after them, on so many devices."""
  built = experiment(data)
  state = loop.initial_state(built, 0)
  key = jax.random.key(5)
  rollouts, collected = built.collect(state.params, key)
  advantage, assigned = built.assign("graphgpo")(rollouts)
  played = built.evaluate(state.params, key)
  following, optimised = built.optimise(state, rollouts, advantage, key)
  metrics = {**collected, **assigned, **played, **optimised}
  return jax.device_get((rollouts, advantage, following, metrics))


@pytest.mark.slow
def test_rollouts_are_those_of_one_device():
  assert experiment(DEVICES).mesh.size == DEVICES
  one, several = batch(1)[0], batch(DEVICES)[0]
  valid = one.mask
  assert valid.sum() > 0
  np.testing.assert_array_equal(valid, several.mask)
  np.testing.assert_array_equal(one.action[valid], several.action[valid])
  np.testing.assert_array_equal(one.success, several.success)
  np.testing.assert_allclose(one.log_prob, several.log_prob, atol=1e-6)


@pytest.mark.slow
def test_advantages_are_those_of_one_device():
  one, several = batch(1)[1], batch(DEVICES)[1]
  assert one.any()
  np.testing.assert_allclose(one, several, atol=1e-6)


@pytest.mark.slow
def test_parameters_and_metrics_are_those_of_one_device():
  before = jax.device_get(loop.initial_state(experiment(1), 0).params)
  after, others = batch(1)[2], batch(DEVICES)[2]
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after.params)
  assert min(jax.tree.leaves(moved)) > 1e-4
  # Adam divides by a root of the second moment: where a gradient is nearly 0
  # the order of the sum shows.
  chex.assert_trees_all_close(after.params, others.params, atol=1e-5)
  assert int(others.step) == 1
  for name, value in batch(1)[3].items():
    np.testing.assert_allclose(
      batch(DEVICES)[3][name], value, rtol=1e-4, atol=1e-5, err_msg=name
    )


@pytest.mark.slow
def test_programs_are_compiled_once_and_the_state_stays_on_the_mesh():
  built = experiment(DEVICES)
  start = loop.initial_state(built, 0)
  for state, _ in loop.iterate(built, start, seed=0, estimator="graphgpo"):
    for leaf in jax.tree.leaves(state):
      assert leaf.sharding.is_fully_replicated
      assert len(leaf.sharding.device_set) == DEVICES
  for program in (built.collect, built.assign("graphgpo"), built.optimise):
    assert program._cache_size() == 1


def test_zero_takes_as_many_devices_as_divide_the_batch():
  assert jax.device_count() == 8
  count = functools.partial(mesh_lib.count_devices, 0)
  assert count(divides={"a": 16, "b": 128}) == 8
  assert count(divides={"a": 12, "b": 128}) == 4
  assert count(divides={"a": 9, "b": 6}) == 3
  assert count(divides={"a": 7, "b": 128}) == 1
  assert mesh_lib.make_mesh(1) is None


@pytest.mark.parametrize(
  "changes, message",
  [
    (
      {"mesh__data": 4, "rollout__tasks_per_update": 6},
      r"rollout\.tasks_per_update=6 must be a multiple of config\.mesh\.data=4",
    ),
    (
      {"mesh__data": 4, "rollout__tasks_per_update": 4, "panel__size": 2},
      r"panel\.size=2 must be a multiple",
    ),
    ({"mesh__data": 9}, r"mesh\.data=9, but there are 8 devices"),
    ({"mesh__data": -1}, r"mesh\.data must be at least 0"),
    ({"mesh__cpu_devices": -1}, r"mesh\.cpu_devices must be at least 0"),
  ],
)
def test_refuses_a_mesh_that_does_not_fit(changes, message):
  with pytest.raises(ValueError, match=message):
    settings.Experiment(tiny.make_config(**changes))
