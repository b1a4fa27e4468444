"""Checkpoints: their metadata and arrays, as Orbax writes them."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.training import checkpoint, run_record, state
from tests.fuzz.target import Target

OLDER, NEWER = 2, 5


@functools.cache
def state_at(step):
  """A small state that tells its step in every array."""
  return state.TrainState(
    params={"layer": {"kernel": jnp.full((4, 3), step, jnp.float32)}},
    opt_state=({"mean": jnp.full((4, 3), step, jnp.float32)},),
    reference_params=None,
    step=jnp.asarray(step, jnp.int32),
  )


def _make(folder):
  with contextlib.closing(checkpoint.Checkpoints(folder)) as checkpoints:
    for step in (OLDER, NEWER):
      record = run_record.RunRecord(step=step, key="threefry2x32:0,1")
      checkpoints.save(step, state_at(step), record)


def _read(folder):
  with contextlib.closing(checkpoint.Checkpoints(folder)) as checkpoints:
    checkpoints.records()
    found = checkpoints.restore(state_at(0))
    for leaf in jax.tree.leaves(found):
      # One of the two as it was saved: damage goes nowhere else unseen.
      assert np.asarray(leaf).max() in (OLDER, NEWER), leaf
      assert np.asarray(leaf).min() == np.asarray(leaf).max(), leaf
    with contextlib.suppress(ValueError):
      checkpoints.restore_params(state_at(0))


TARGETS = (Target("checkpoint", _make, _read, 400, 20),)
