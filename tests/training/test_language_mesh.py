"""An update of a language model on a mesh against that on one device."""

import functools

import chex
import jax
import numpy as np
import optax
import pytest

from graphgpo_jax.policy import partition
from graphgpo_jax.rollouts import turns
from graphgpo_jax.training import language_loss, language_update
from tests.training import language_rows

MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2)]
# After the first step its trace is the gradient. Slow, so that the second step
# starts where it does on one device, up to rounding.
SGD = optax.sgd(0.01, momentum=0.9)


@functools.cache
def rows():
  """Rows in a number that every mesh divides, twice."""
  some = language_rows.make_rows()
  more = turns.empty_rows(4, some.mask.shape[1])
  return jax.tree.map(lambda *parts: np.concatenate(parts), some, more)


def build(mesh, rank=0, parts=1):
  update = language_update.make_update(
    language_loss.make_log_probs(language_rows.model(rank), chunk=8),
    SGD,
    num_microbatches=parts,
    weigh=language_loss.sequence_mean_token_mean_weights,
    mesh=mesh,
    **language_rows.OPTIONS,
  )
  variables = language_rows.variables(rank)
  if mesh is not None:
    variables = partition.place(mesh, variables)
  train = "lora" if rank else "params"
  return update, language_update.create_state(variables, SGD, train=train)


@functools.cache
def one_device(rank=0):
  """State and metrics after one update and after two."""
  update, state = build(None, rank)
  return jax.device_get(step_twice(update, state, rows()))


def step_twice(update, state, batch):
  found = []
  for _ in range(2):
    # A copy, since the next update takes the state over.
    state, metrics = update(state, batch, None, batch.old_log_prob - 0.1)
    found.append((jax.tree.map(lambda leaf: leaf.copy(), state), metrics))
  return found


@pytest.mark.slow
@pytest.mark.parametrize(
  ("shape", "rank", "parts"),
  [*((shape, 0, 1) for shape in MESHES), ((2, 4, 1), 0, 2), ((2, 2, 2), 3, 1)],
)
def test_loss_and_parameters_are_those_of_one_device(shape, rank, parts):
  mesh = partition.make_mesh(*shape)
  update, state = build(mesh, rank, parts)
  found = step_twice(update, state, partition.place_rows(mesh, rows()))
  for (after, metrics), (expected, numbers) in zip(
    jax.device_get(found), one_device(rank), strict=True
  ):
    # A norm of 5: its sum over devices rounds in units of 1e-6 of that.
    norm, expected_norm = "loss/gradient_norm", numbers["loss/gradient_norm"]
    chex.assert_trees_all_close(metrics[norm], expected_norm, rtol=1e-5)
    rest = {**metrics, norm: expected_norm}
    chex.assert_trees_all_close(rest, dict(numbers), atol=1e-5)
    chex.assert_trees_all_close(after.trained, expected.trained, atol=1e-5)
    # Momentum is of gradients as they are, unlike what is left of a small step.
    chex.assert_trees_all_close(
      after.opt_state, expected.opt_state, rtol=1e-5, atol=1e-5
    )
  assert numbers["loss/gradient_norm"] > 0.01
  # Where it was, so that nothing is compiled or moved again.
  for after, _ in found:
    jax.tree.map(
      lambda leaf, sharding: chex.assert_equal(
        leaf.sharding.is_equivalent_to(sharding, leaf.ndim), True
      ),
      after,
      partition.shardings(mesh, after),
    )
  assert update._cache_size() == 1
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.trained))


def test_a_new_state_is_divided_as_its_parameters():
  mesh = partition.make_mesh(2, 2, 2)
  _, state = build(mesh)
  for leaf, sharding in zip(
    jax.tree.leaves(state),
    jax.tree.leaves(partition.shardings(mesh, state)),
    strict=True,
  ):
    assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
  table = state.opt_state[0].trace["params"]["embedding"]["table"]
  assert table.addressable_shards[0].data.shape == (32, 16)


def test_rows_that_cannot_be_divided():
  mesh = partition.make_mesh(2, 2, 2)
  update, state = build(mesh, parts=2)
  with pytest.raises(
    ValueError,
    match="12 rows .*num_microbatches=2 times data x fsdp = 4; pack_rows",
  ):
    update(state, language_rows.make_rows())
