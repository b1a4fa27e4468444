"""Which entries agree in several keys at once: segments, by sorting."""

import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib

_WORD = 2**32


def prefix_segments(
  keys: Sequence[chex.Array],
  mask: chex.Array,
  *,
  sizes: Sequence[int | None] | None = None,
) -> chex.Array:
  """Numbers the distinct first k keys of the entries, for every k.

  Entries i and j share segment k exactly where keys 0 to k of both are equal.
  Each k numbers the pairs of the segment before and key k; the first key, if
  its size is known, is its own number.

  Args:
    keys: K int32 [E] each, at least 0 where `mask` is True.
    mask: bool [E], True where valid.
    sizes: static bound of each key, all its values lie below it; None where
      there is none. Of known sizes that fit into a word with the entry's place
      (up to some thousand each) a sort takes a tenth of the time on a CPU.

  Returns:
    int32 [K, E], from 0 to E - 1, of the first key below its size; NO_NODE
    where `mask` is False.
  """
  chex.assert_rank([*keys, mask], 1)
  chex.assert_equal_shape([*keys, mask])
  num_entries = mask.shape[0]
  bounds = [None] * len(keys) if sizes is None else list(sizes)
  if bounds[0] is None:
    newest, number = _ranks([keys[0]], mask, [None]), num_entries
  else:
    newest, number = jnp.where(mask, keys[0], graph_lib.NO_NODE), bounds[0]
  found = [newest]
  for key, size in zip(keys[1:], bounds[1:], strict=True):
    newest = _ranks([newest, key], mask, [number, size])
    number = num_entries
    found.append(newest)
  return jnp.stack(found)


def _ranks(
  digits: Sequence[chex.Array],
  mask: chex.Array,
  sizes: Sequence[int | None],
) -> chex.Array:
  """Numbers the distinct tuples of digits in ascending order, int32 [E]."""
  num_entries = mask.shape[0]
  place = jnp.arange(num_entries, dtype=jnp.uint32)
  # Padding comes last, whatever it holds.
  words = _packed(
    [~mask, *(jnp.where(mask, digit, 0) for digit in digits)], [2, *sizes]
  )
  if math.prod(size or _WORD for size in (2, *sizes)) * num_entries <= _WORD:
    ascending = jnp.sort(words[0] * jnp.uint32(num_entries) + place)
    order = ascending % num_entries
    words = [ascending // num_entries]
  else:
    *words, order = jax.lax.sort(
      (*words, place), num_keys=len(words), is_stable=False
    )
  changes = jnp.zeros((num_entries - 1,), bool)
  for word in words:
    changes |= word[1:] != word[:-1]
  ranks = jnp.cumsum(
    jnp.concatenate([jnp.zeros((1,), bool), changes]), dtype=jnp.int32
  )
  found = jnp.zeros((num_entries,), jnp.int32)
  found = found.at[order].set(ranks, unique_indices=True)
  return jnp.where(mask, found, graph_lib.NO_NODE)


def _packed(
  digits: Sequence[chex.Array], sizes: Sequence[int | None]
) -> list[chex.Array]:
  """Digits in as few uint32 words as hold them, in the same order."""
  words: list[chex.Array] = []
  room = 1
  for given, size in zip(digits, sizes, strict=True):
    digit = given.astype(jnp.uint32)
    size = _WORD if size is None else size
    if words and room * size <= _WORD:
      words[-1] = words[-1] * jnp.uint32(size) + digit
      room *= size
    else:
      words.append(digit)
      room = size
  return words
