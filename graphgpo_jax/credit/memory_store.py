"""A store of many tasks' memories: a slot a task, found by the task's key.

A store is a `GraphMemory` whose leaves have a leading axis [C]. The slot of a
task is its place in a list that one keeps, or is looked up by the task's
fingerprint.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import memory as memory_lib

NO_SLOT = -1


def empty_store(
  num_tasks: int, *, max_edges: int, max_scores: int = 0
) -> memory_lib.GraphMemory:
  """Store of C tasks, all slots free.

  Args:
    num_tasks: C, tasks that are kept at most.
    max_edges: K of each task.
    max_scores: S of each task.

  Returns:
    GraphMemory whose leaves have a leading axis [C].

  Raises:
    ValueError: a size is out of range.
  """
  if num_tasks < 1:
    raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
  one = memory_lib.empty_memory(max_edges=max_edges, max_scores=max_scores)
  return jax.tree.map(
    lambda leaf: jnp.zeros((num_tasks, *leaf.shape), leaf.dtype), one
  )


def take(
  store: memory_lib.GraphMemory, slots: chex.Array
) -> memory_lib.GraphMemory:
  """Memories in these slots: leaves [...] of int32 [...] slots in [0, C)."""
  return jax.tree.map(lambda leaf: leaf[slots], store)


def put(
  store: memory_lib.GraphMemory,
  slots: chex.Array,
  memories: memory_lib.GraphMemory,
) -> memory_lib.GraphMemory:
  """The store with these memories in these slots, which must be distinct."""
  return jax.tree.map(
    lambda leaf, new: leaf.at[slots].set(new), store, memories
  )


def slot_of(store: memory_lib.GraphMemory, key: chex.Array) -> chex.Array:
  """Slot of the task with this key, int32 []; NO_SLOT where it has none.

  Args:
    store: GraphMemory with a leading axis [C].
    key: uint32 [2], fingerprint of the task.

  Returns:
    int32 [] in [0, C), the first such slot, or NO_SLOT.
  """
  chex.assert_shape(key, (2,))
  chex.assert_type(key, jnp.uint32)
  match = (store.claimed > 0) & jnp.all(store.key == key, axis=1)
  slot = jnp.argmax(match).astype(jnp.int32)
  return jnp.where(jnp.any(match), slot, NO_SLOT)


def claim_slot(
  store: memory_lib.GraphMemory, key: chex.Array
) -> tuple[memory_lib.GraphMemory, chex.Array]:
  """Finds the task's slot, or gives it one.

  A task that has none gets a free slot, or that of the task which was claimed
  longest ago, whose memory is lost. Claims one after another, such as by
  `jax.lax.scan`, of at most C tasks never take each other's slots.

  Args:
    store: GraphMemory with a leading axis [C].
    key: uint32 [2], fingerprint of the task.

  Returns:
    The store, and int32 [], the slot.
  """
  found = slot_of(store, key)
  slot = jnp.where(found < 0, jnp.argmin(store.claimed), found)
  slot = slot.astype(jnp.int32)
  memory = jax.tree.map(
    lambda leaf: jnp.where(found < 0, jnp.zeros_like(leaf), leaf),
    take(store, slot),
  )
  memory = memory.replace(key=key, claimed=jnp.max(store.claimed) + 1)
  return put(store, slot, memory), slot
