"""Which entries agree in all of several keys, without sorting them.

A CPU sorts a few hundred entries by two keys in the time that all the rest of a
group's credit takes. Here entries meet in a hash table: every slot keeps the
first of those that fall into it, whoever has its keys has found its like, and
the others try another hash.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib


def first_alike(keys: Sequence[chex.Array], mask: chex.Array) -> chex.Array:
  """The first entry that has the same keys.

  Exact: keys are compared, the hash only says with whom. In every round at
  least the first entry that is left finds itself, and as a rule nearly all do.

  Args:
    keys: int32 [E] each, one at least.
    mask: bool [E], entries that count.

  Returns:
    int32 [E], from 0 to E - 1, equal for two entries exactly where all their
    keys are; NO_NODE where `mask` is False.
  """
  chex.assert_rank([*keys, mask], 1)
  chex.assert_equal_shape([*keys, mask])
  num_entries = mask.shape[0]
  if not num_entries:
    return jnp.zeros((0,), jnp.int32)
  keys = [jnp.asarray(key) for key in keys]
  # Half empty, so that few meet by chance.
  size = 2 ** (2 * num_entries - 1).bit_length()
  # 0 * mask: `jax.shard_map` wants a loop's carry to start as what it becomes.
  entry = jnp.arange(num_entries, dtype=jnp.int32) + 0 * mask

  def alone(carry):
    return jnp.any(carry[1])

  def meet(carry):
    first, left, tries = carry
    slot = _hash(keys, tries) % size
    table = jnp.full((size,), num_entries, jnp.int32)
    table = table.at[jnp.where(left, slot, size)].min(entry, mode="drop")
    found = jnp.minimum(table[slot], num_entries - 1)
    alike = left
    for key in keys:
      alike &= key == key[found]
    return jnp.where(alike, found, first), left & ~alike, tries + 1

  first, _, _ = jax.lax.while_loop(
    alone, meet, (0 * entry + graph_lib.NO_NODE, mask, jnp.uint32(1))
  )
  return first


def _hash(keys, tries):
  """A uint32 for each entry, another one at every try."""
  mixed = tries * jnp.uint32(0x9E3779B9)
  for key in keys:
    mixed = (mixed ^ key.astype(jnp.uint32)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0xC2B2AE35)
  return mixed ^ (mixed >> 16)
