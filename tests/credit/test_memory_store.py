"""Slots for the memories of several tasks."""

import collections

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit import memory_store
from tests.credit import made_visits


def test_the_store_gives_out_slots():
  """Free ones first, then that of the task which was claimed longest ago."""
  size, rng = 3, np.random.default_rng(0)
  store = memory_store.empty_store(size, max_edges=4, max_scores=2)
  assert store.source.shape == (size, 4, 2)
  expected = collections.OrderedDict()
  claim = jax.jit(memory_store.claim_slot, donate_argnums=0)
  find = jax.jit(memory_store.slot_of)

  @jax.jit
  def use(store, slot, visits):
    one = memory_store.take(store, slot)
    return memory_store.put(store, slot, one.replace(visits=visits)), one.visits

  for _ in range(40):
    task = int(rng.integers(0, 6))
    known = find(store, made_visits.KEYS[task])
    assert known == expected.get(task, memory_store.NO_SLOT)
    if task in expected:
      expected.move_to_end(task)
    elif len(expected) < size:
      expected[task] = len(expected)
    else:
      expected[task] = expected.popitem(last=False)[1]
    store, slot = claim(store, made_visits.KEYS[task])
    assert slot == expected[task]
    # A memory that was taken over is blank, one's own is as it was left.
    store, visits = use(store, slot, jnp.int32(1 + task))
    assert visits == (0 if known == memory_store.NO_SLOT else 1 + task)
