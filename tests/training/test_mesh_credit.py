"""Credit on a mesh: nothing is communicated but the sums of metrics."""

import functools
import re

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import estimators
from graphgpo_jax.policy import partition
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import settings, update
from tests.training import made_rollouts

MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2)]
COLLECTIVE = re.compile(
  r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|"
  r"collective-permute|collective-broadcast|ragged-all-to-all|send|recv)"
  r"(?:-start)?\("
)


def compiled(function, *args):
  program = jax.jit(function).lower(*args).compile()
  assert "num_partitions=8" in program.as_text()
  return program


def collectives(program):
  """Type of the result and name of each."""
  return COLLECTIVE.findall(program.as_text())


@functools.cache
def rollouts():
  return made_rollouts.random_rollouts(tasks=8)


def estimator():
  options = settings.default_config().estimator_options.graphgpo
  return settings.make_estimator("graphgpo", dict(options))


@functools.cache
def on_one_device():
  return jax.device_get(jax.jit(update.make_assign(estimator()))(rollouts()))


def test_the_pattern_finds_what_there_is():
  mesh = partition.make_mesh(2, 2, 2)
  rows = partition.place_rows(mesh, np.ones((8, 3), np.float32))

  def gather(rows):
    return mesh_lib.on_every_device(rows, mesh)

  found = collectives(compiled(gather, rows))
  assert found == [("f32[8,3]{1,0}", "all-gather")]
  found = collectives(compiled(lambda rows: rows.sum(), rows))
  assert found == [("f32[]", "all-reduce")]


def test_credit_communicates_nothing():
  mesh = partition.make_mesh(2, 2, 2)
  placed = partition.place_rows(mesh, rollouts())
  credit = update.make_credit(estimator(), mesh=mesh)
  assert collectives(compiled(credit, placed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_only_metrics_are_added_up(shape):
  mesh = partition.make_mesh(*shape)
  placed = partition.place_rows(mesh, rollouts())
  assign = compiled(update.make_assign(estimator(), mesh=mesh), placed)
  found = collectives(assign)
  assert found
  for kind, name in found:
    assert name == "all-reduce"
    assert not re.search(r"\[\d", kind), kind
  advantage, metrics = assign(placed)
  assert advantage.sharding.is_equivalent_to(placed.mask.sharding, 3)
  expected, numbers = on_one_device()
  assert expected.any()
  np.testing.assert_allclose(advantage, expected, atol=1e-5)
  chex.assert_trees_all_close(jax.device_get(metrics), numbers, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_every_estimator_is_the_same_under_pmap(name):
  """The whole way from rollouts of a group to its advantages."""
  options = settings.default_config().estimator_options.get(name, {})
  assign = update.make_assign(settings.make_estimator(name, dict(options)))
  # One group a device, with the axis of the batch inside.
  groups = jax.tree.map(lambda leaf: leaf[:, None], rollouts())
  found = jax.device_get(jax.pmap(assign)(groups))
  jitted = jax.jit(assign)
  expected = [
    jax.device_get(jitted(jax.tree.map(lambda leaf, at=at: leaf[at], groups)))
    for at in range(8)
  ]
  together = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
  assert together[0].any()
  chex.assert_trees_all_close(found, together, atol=1e-5)
