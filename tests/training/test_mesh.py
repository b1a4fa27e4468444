"""The update on several devices against the update on one."""

import functools
from unittest import mock

import chex
import jax
import numpy as np
import optax
import pytest

from graphgpo_jax.policy import partition_rules
from graphgpo_jax.training import environment_experiment, guard, loop, update
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import state as state_lib
from tests.training import tiny

ONE = (1, 1, 1)
MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2)]
UPDATES = 2
# Of one device's numbers, absolute.
TOLERANCE = 1e-5
# Adam divides by a root of the second moment: where a gradient is nearly 0 the
# order of its sum, which is the machine's, would decide the step. Here the
# rounding of a gradient is, times the rate, all that parameters may differ by.
DESCENT = guard.refuse_not_finite(
  optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.5, momentum=0.9))
)


@functools.cache
def experiment(shape):
  return make_experiment(shape)


@functools.cache
def descending(shape):
  """The experiment with an optimiser that is linear in its gradients."""
  with mock.patch.object(state_lib, "make_optimizer", lambda **_: DESCENT):
    return make_experiment(shape)


def make_experiment(shape):
  data, fsdp, tensor = shape
  return environment_experiment.Experiment(
    tiny.make_config(
      num_updates=UPDATES,
      mesh__data=data,
      mesh__fsdp=fsdp,
      mesh__tensor=tensor,
      rollout__tasks_per_update=8,
      panel__size=8,
      rollout__chunk_size=4,
      loss__chunk_size=16,
      # No step's advantage may be 0 only because its group had no success.
      estimator_options__graphgpo__penalty_only_with_success=False,
    )
  )


@functools.cache
def batch(shape):
  """Rollouts, advantages and the state after them, on such a mesh."""
  built, learner = experiment(shape), descending(shape)
  state = loop.initial_state(learner, 0)
  key = jax.random.key(5)
  rollouts, collected = built.collect(state.params, key)
  advantage, assigned = built.assign("graphgpo")(rollouts)
  played = built.evaluate(state.params, key)
  following, optimised = learner.optimise(state, rollouts, advantage, key)
  metrics = {**collected, **assigned, **played, **optimised}
  return jax.device_get((rollouts, advantage, following, metrics))


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_rollouts_are_those_of_one_device(shape):
  assert experiment(shape).mesh.size == 8
  one, several = batch(ONE)[0], batch(shape)[0]
  valid = one.mask
  assert valid.sum() > 0
  np.testing.assert_array_equal(valid, several.mask)
  np.testing.assert_array_equal(one.action[valid], several.action[valid])
  np.testing.assert_array_equal(one.success, several.success)
  np.testing.assert_allclose(one.log_prob, several.log_prob, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_advantages_are_those_of_one_device(shape):
  one, several = batch(ONE)[1], batch(shape)[1]
  assert one.any()
  np.testing.assert_allclose(one, several, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_parameters_and_metrics_are_those_of_one_device(shape):
  before = jax.device_get(loop.initial_state(descending(ONE), 0).params)
  after, others = batch(ONE)[2], batch(shape)[2]
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after.params)
  assert min(jax.tree.leaves(moved)) > 10 * TOLERANCE
  # The optimiser's state, too: its trace is made of the gradients.
  chex.assert_trees_all_close(others, after, rtol=0, atol=TOLERANCE)
  assert int(others.step) == 1
  metrics = batch(ONE)[3]
  assert batch(shape)[3].keys() == metrics.keys()
  assert {"loss/policy", "loss/entropy", "loss/gradient_norm"} <= metrics.keys()
  # None is an exception: the norm of the gradient holds it as the loss does.
  for name, value in metrics.items():
    np.testing.assert_allclose(
      batch(shape)[3][name], value, rtol=0, atol=TOLERANCE, err_msg=name
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_programs_are_compiled_once_and_the_state_keeps_its_place(shape):
  built = experiment(shape)
  start = loop.initial_state(built, 0)
  for state, _ in loop.iterate(built, start, seed=0, estimator="graphgpo"):
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    assert places == built.state_shardings
  for program in (built.collect, built.assign("graphgpo"), built.optimise):
    assert program._cache_size() == 1


@pytest.mark.slow
def test_an_update_needs_nothing_of_the_host():
  """Phase by phase and as one program, from placed state and keys."""
  built = experiment((2, 2, 2))
  everywhere = mesh_lib.replicated(built.mesh)
  key = jax.device_put(jax.random.key(3), everywhere)
  keys = jax.device_put(update.update_keys(jax.random.key(3), 0), everywhere)
  phases = built.programs("graphgpo")
  whole = built.update("graphgpo")
  apart, state = loop.initial_state(built, 0), loop.initial_state(built, 0)
  with jax.transfer_guard("disallow"):
    given = apart
    apart, _ = update.run_phases(phases, apart, *keys)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
    state, _ = whole(state, key)
    # The first one's result is what the program was compiled for.
    state, _ = whole(state, key)
  assert whole._cache_size() == 1
  assert int(apart.step) == 1 and int(state.step) == 2
  places = jax.tree.map(lambda leaf: leaf.sharding, state)
  assert places == built.state_shardings


def test_zero_takes_as_many_devices_as_divide_the_batch():
  assert jax.device_count() == 8
  count = functools.partial(mesh_lib.count_devices, 0)
  assert count(divides={"a": 16, "b": 128}) == 8
  assert count(divides={"a": 12, "b": 128}) == 4
  assert count(divides={"a": 9, "b": 6}) == 3
  assert count(divides={"a": 7, "b": 128}) == 1
  assert count(fsdp=2, divides={"a": 16, "b": 128}) == 4
  assert count(fsdp=2, divides={"a": 12, "b": 128}) == 2
  assert count(fsdp=2, tensor=2, divides={"a": 16, "b": 128}) == 2
  assert count(tensor=8, divides={"a": 16, "b": 128}) == 1
  assert mesh_lib.make_mesh(1) is None
  assert mesh_lib.make_mesh(1, 1, 2).shape["tensor"] == 2


@pytest.mark.parametrize("name", ["household", "sokoban"])
def test_every_parameter_has_its_rule(name):
  config = tiny.make_config(mesh__fsdp=2, mesh__tensor=2, mesh__data=2)
  config.rollout.tasks_per_update = 4
  config.environment = {"name": name}
  places = environment_experiment.Experiment(config).state_shardings
  axes = {
    axis
    for sharding in jax.tree.leaves(places.params)
    for axis in sharding.spec
    if axis
  }
  assert axes == {"fsdp", "tensor"}
  kernels = [
    sharding.spec
    for path, sharding in jax.tree_util.tree_leaves_with_path(places.opt_state)
    if "mlp" in jax.tree_util.keystr(path)
    and "kernel" in jax.tree_util.keystr(path)
  ]
  # Both of Adam's moments, of two kernels of a layer.
  assert len(kernels) == 4
  assert {tuple(spec) for spec in kernels} == {
    ("fsdp", "tensor"),
    ("tensor", "fsdp"),
  }


def test_rules_of_both_families_cut_a_block_alike():
  policy = dict(partition_rules.ENVIRONMENT_POLICY)
  language = dict(partition_rules.LANGUAGE_MODEL)
  shared = policy.keys() & language.keys() - {"embedding/table"}
  assert len(shared) == 7
  assert all(policy[name] == language[name] for name in shared)


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
    (
      {"mesh__data": 2, "mesh__fsdp": 2, "rollout__tasks_per_update": 6},
      r"tasks_per_update=6 must be a multiple of config\.mesh\.data=2 x "
      r"config\.mesh\.fsdp=2 = 4",
    ),
    (
      {"mesh__data": 0, "mesh__fsdp": 4, "rollout__tasks_per_update": 6},
      r"tasks_per_update=6 must be a multiple of config\.mesh\.fsdp=4",
    ),
    ({"mesh__data": 9}, r"mesh\.data=9, but there are 8 devices"),
    (
      {"mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 4},
      r"config\.mesh\.data=2 x config\.mesh\.fsdp=2 x config\.mesh\.tensor=4 = "
      "16, but there are 8 devices",
    ),
    (
      {"mesh__tensor": 3, "policy__width": 8},
      r"config\.mesh\.tensor=3 .*config\.policy: parameter .* no multiple of "
      "tensor=3",
    ),
    (
      {"mesh__fsdp": 2, "policy__width": 9, "policy__num_heads": 3},
      r"config\.mesh\.fsdp=2 .*config\.policy: parameter .* size 9 .*fsdp=2",
    ),
    ({"mesh__data": -1}, r"mesh\.data must be at least 0"),
    ({"mesh__fsdp": 0}, r"mesh\.fsdp must be at least 1"),
    ({"mesh__tensor": 0}, r"mesh\.tensor must be at least 1"),
    ({"mesh__cpu_devices": -1}, r"mesh\.cpu_devices must be at least 0"),
  ],
)
def test_refuses_a_mesh_that_does_not_fit(changes, message):
  with pytest.raises(ValueError, match=message):
    environment_experiment.Experiment(tiny.make_config(**changes))


def test_of_several_processes_none_is_left_out(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  count = functools.partial(mesh_lib.count_devices, divides={"rollout.b": 16})
  assert count(0) == count(8) == 8
  assert count(0, fsdp=2) == count(4, fsdp=2) == 4
  for data, fsdp in ((1, 1), (4, 1), (8, 2), (0, 3)):
    with pytest.raises(
      ValueError,
      match=f"config.mesh.data={data} x fsdp={fsdp} x tensor=1 must be the 8 "
      "devices of all 2 processes",
    ):
      count(data, fsdp=fsdp)
  with pytest.raises(ValueError, match=r"config.rollout.b=12 must be a mult"):
    count(0, divides={"rollout.b": 12})
