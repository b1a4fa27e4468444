"""Keys and values of the tokens that a language model has already read.

All sequences of a batch share their slots: a chunk of tokens is written at the
same slots for each of them, and what was padding there is masked out. So a
write is one update of a block, whatever the lengths, and the order of slots is
the order of tokens.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.policy import transformer_config


@chex.dataclass(frozen=True)
class KVCache:
  """Keys and values, one array a layer.

  A tuple of arrays, not one array with a layer axis, and heads before slots: so
  that a decoding loop updates each array in place, and attention reads it
  without a copy in another order.
  """

  key: tuple[chex.Array, ...]  # layers of float [N, G, S, K], rotated
  value: tuple[chex.Array, ...]  # layers of float [N, G, S, K]
  mask: chex.Array  # bool [N, S], True where a slot holds a token
  used: chex.Array  # int32 [], slots written so far, by the whole batch
  next_position: chex.Array  # int32 [N], tokens so far, without padding


def num_slots(cache: KVCache) -> int:
  """S, a static number."""
  return cache.mask.shape[1]


def empty_cache(
  config: transformer_config.TransformerConfig,
  batch: int,
  slots: int,
  dtype: Any = None,
) -> KVCache:
  """A cache without a token.

  Args:
    config: the transformer.
    batch: N.
    slots: S, the most slots that may be written; whoever writes must see to it
      that `used` stays below, since a jitted program cannot raise.
    dtype: of keys and values; `config.dtype` where None.

  Returns:
    The cache, all zeros.
  """
  shape = (
    batch,
    config.resolved_num_kv_heads,
    slots,
    config.resolved_head_dim,
  )
  dtype = config.dtype if dtype is None else dtype

  def layers() -> tuple[chex.Array, ...]:
    return tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))

  return KVCache(
    key=layers(),
    value=layers(),
    mask=jnp.zeros((batch, slots), bool),
    used=jnp.zeros((), jnp.int32),
    next_position=jnp.zeros(batch, jnp.int32),
  )


def write(
  stored: chex.Array, chunk: chex.Array, start: chex.Array
) -> chex.Array:
  """Writes the keys or values of a chunk into one layer's slots.

  Args:
    stored: [N, G, S, K].
    chunk: [N, L, G, K].
    start: int32 [], first slot; `start + L` is at most S.

  Returns:
    [N, G, S, K], in the type of `stored`.
  """
  chunk = jnp.swapaxes(chunk, 1, 2).astype(stored.dtype)
  return jax.lax.dynamic_update_slice(stored, chunk, (0, 0, start, 0))


def read(stored: chex.Array, dtype: Any) -> chex.Array:
  """One layer's slots as attention takes them, [N, S, G, K]."""
  return jnp.swapaxes(stored, 1, 2).astype(dtype)


def open_slots(
  cache: KVCache, mask: chex.Array
) -> tuple[KVCache, chex.Array, chex.Array]:
  """Makes room for a chunk: everything about it but its keys and values.

  Args:
    cache: with `used` slots written.
    mask: bool [N, L], True where the chunk holds a token.

  Returns:
    The cache with mask, `used` and `next_position` after the chunk; the bool
    [N, 1, L, S] that says which slots each of the chunk's tokens attends to,
    those that hold a token up to its own; and the tokens' positions, int32
    [N, L].
  """
  chex.assert_rank(mask, 2)
  chex.assert_type(mask, bool)
  length = mask.shape[1]
  slots = jax.lax.dynamic_update_slice(cache.mask, mask, (0, cache.used))
  own_slot = cache.used + jnp.arange(length, dtype=jnp.int32)
  up_to_own = jnp.arange(num_slots(cache)) <= own_slot[:, None]
  rank = jnp.cumsum(mask, axis=-1, dtype=jnp.int32)
  positions = jnp.maximum(cache.next_position[:, None] + rank - 1, 0)
  opened = KVCache(
    key=cache.key,
    value=cache.value,
    mask=slots,
    used=cache.used + length,
    next_position=cache.next_position + rank[:, -1],
  )
  return opened, slots[:, None, None, :] & up_to_own, positions


def truncate(cache: KVCache, lengths: chex.Array) -> KVCache:
  """Forgets all but the first tokens of each sequence.

  What is left is exact, since under a causal mask keys and values depend on
  the tokens before only. The slots stay used; `repack` wins them back.

  Args:
    cache: any.
    lengths: int32 [N], tokens to keep; 0 starts a sequence again.

  Returns:
    The cache with at most `lengths` tokens.
  """
  chex.assert_equal_shape([lengths, cache.next_position])
  rank = jnp.cumsum(cache.mask, axis=-1, dtype=jnp.int32)
  return KVCache(
    key=cache.key,
    value=cache.value,
    mask=cache.mask & (rank <= lengths[:, None]),
    used=cache.used,
    next_position=jnp.minimum(cache.next_position, lengths),
  )


def repack(cache: KVCache, slots: int) -> KVCache:
  """Moves each sequence's tokens to the first slots, of another number maybe.

  Args:
    cache: any.
    slots: S of the result, at least the largest `next_position`.

  Returns:
    The same tokens, `used` being the largest `next_position`.
  """
  # A stable sort of "is empty" keeps the tokens' order.
  order = jnp.argsort(~cache.mask, axis=-1, stable=True)[:, :slots]
  order = jnp.pad(order, ((0, 0), (0, slots - order.shape[1])))

  def move(stored: chex.Array) -> chex.Array:
    return jnp.take_along_axis(stored, order[:, None, :, None], axis=2)

  return KVCache(
    key=tuple(move(stored) for stored in cache.key),
    value=tuple(move(stored) for stored in cache.value),
    mask=jnp.arange(slots) < cache.next_position[:, None],
    used=jnp.max(cache.next_position),
    next_position=cache.next_position,
  )
