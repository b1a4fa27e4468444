"""A batch of conversations that keeps what the model has read."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import chex
import jax
import numpy as np

from graphgpo_jax.policy import kv_cache, partition, transformer_config
from graphgpo_jax.policy.sampling import generate, stops
from graphgpo_jax.policy.sampling import options as options_lib

if TYPE_CHECKING:
  from graphgpo_jax.policy.sampling import sampler as sampler_lib

StreamFn = Callable[[int, list[int]], None]


def slot_bucket(needed: int, smallest: int) -> int:
  """`smallest` times the least power of two that gives at least `needed`."""
  return smallest << max(0, -(-needed // smallest) - 1).bit_length()


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
  """Number of ids that two sequences start with alike."""
  length = min(len(first), len(second))
  differs = np.asarray(first[:length]) != np.asarray(second[:length])
  return int(np.argmax(differs)) if np.any(differs) else length


@jax.jit
def _sequence_keys(key: chex.PRNGKey, indices: chex.Array) -> chex.Array:
  return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


@functools.partial(jax.jit, static_argnames=("slots", "mesh"))
def _repack(
  cache: kv_cache.KVCache,
  keep: chex.Array,
  slots: int,
  mesh: jax.sharding.Mesh | None,
) -> kv_cache.KVCache:
  packed = kv_cache.repack(kv_cache.truncate(cache, keep), slots)
  return partition.constrain_cache(packed, mesh)


# Compiled, so that each device makes its part and none the whole.
@functools.partial(
  jax.jit, static_argnames=("config", "batch", "slots", "mesh")
)
def _empty_on_mesh(
  config: transformer_config.TransformerConfig,
  batch: int,
  slots: int,
  mesh: jax.sharding.Mesh,
) -> kv_cache.KVCache:
  cache = kv_cache.empty_cache(config, batch, slots)
  return partition.constrain_cache(cache, mesh)


class Episode:
  """Samples turn after turn, reading only what is new in each prompt.

  Each row of the batch keeps the token ids that the cache holds for it. A new
  prompt keeps the ids it starts with, which under a causal mask is exact, and
  the rest is read; a prompt that starts otherwise is read from its start.

  An episode keeps the variables its sampler had when it began: a cache does
  not outlive an update. Where those are on a mesh of `partition`, rows and
  their cache are divided over it; rows that nobody sees fill up its parts.

  Attributes:
    tokens_reused: prompt tokens found in the cache, over all calls.
    tokens_read: prompt tokens that had to be read, over all calls.
  """

  def __init__(self, sampler: "sampler_lib.Sampler", batch: int):
    if batch < 1:
      raise ValueError(f"batch={batch} must be at least 1")
    self._sampler = sampler
    self._variables = sampler.variables
    self._mesh = partition.mesh_of(sampler.variables)
    parts = partition.num_row_parts(self._mesh)
    self._asked = batch
    self._batch = -(-batch // parts) * parts
    self.tokens_reused = 0
    self.tokens_read = 0
    self._forget()

  def _forget(self) -> None:
    self._cache: kv_cache.KVCache | None = None
    self._ids: list[list[int]] = [[] for _ in range(self._batch)]

  @property
  def num_slots(self) -> int:
    """Slots of the cache, 0 before the first call."""
    return 0 if self._cache is None else kv_cache.num_slots(self._cache)

  def sample(
    self,
    prompts: Sequence[Sequence[int] | None],
    key: chex.PRNGKey,
    options: options_lib.SamplingOptions,
    *,
    indices: Sequence[int] | None = None,
    stream: StreamFn | None = None,
  ) -> list[options_lib.Sample]:
    """Draws a sample after each prompt.

    Args:
      prompts: one a row: token ids, at least one; None for a row that sits
        this call out and keeps what it has.
      key: the call's key.
      options: how to draw.
      indices: a number per row that its key is folded with; the row's number
        by default. With it a sequence draws alike in any batch.
      stream: called with a row and its new tokens as they come, every
        `segment` tokens.

    Returns:
      A sample per row, without a token where the prompt is None.

    Raises:
      ValueError: the wrong number of prompts, an empty prompt, an id outside
        the vocabulary, or a prompt that leaves no room for `max_tokens`.
    """
    self._check(prompts, options, indices)
    order = list(range(self._asked) if indices is None else indices)
    surplus = self._batch - self._asked
    prompts, order = [*prompts, *[None] * surplus], order + [0] * surplus
    given = [[] if prompt is None else list(prompt) for prompt in prompts]
    drawn: list[list[int]] = [[] for _ in prompts]
    log_probs: list[list[float]] = [[] for _ in prompts]
    active = np.array([prompt is not None for prompt in prompts])
    stopped = np.zeros(len(prompts), bool)
    reading, pending, keep = self._unread(prompts)
    state = generate.DecodeState(
      pending=pending,
      active=active,
      recent=np.full(
        (len(prompts), self._sampler.stop_table.shape[1]),
        stops.NO_TOKEN,
        np.int32,
      ),
      drawn=np.int32(0),
    )
    keys = _sequence_keys(key, np.asarray(order, np.uint32))
    cache, ids = self._cache, self._ids
    # Until the call is through: a donated cache is gone if it fails.
    self._forget()
    while active.any():
      done = int(state.drawn)
      limit = min(self._sampler.segment, options.max_tokens - done)
      cache = self._make_room(cache, keep, reading, limit)
      cache, state, segment = generate.generate(
        self._sampler.model,
        self._variables,
        cache,
        self._pad(reading, keep, kv_cache.num_slots(cache)),
        state,
        self._draw_options(options, keys, limit),
        chunk=self._sampler.prefill_chunk,
        segment=self._sampler.segment,
        mesh=self._mesh,
      )
      state = jax.tree.map(np.array, state)
      segment = jax.device_get(segment)
      keep = np.array(cache.next_position)
      reading = [[] for _ in prompts]
      for row in np.flatnonzero(active).tolist():
        count = int(segment.mask[row].sum())
        drawn[row] += segment.tokens[row, :count].tolist()
        log_probs[row] += segment.log_prob[row, :count].tolist()
        kept = self._cut(drawn[row], done)
        # What the cache holds is decided before tokens are cut off.
        ids[row] = (given[row] + drawn[row])[: keep[row]]
        if kept is not None:
          del drawn[row][kept:], log_probs[row][kept:]
        stopped[row] = kept is not None or not state.active[row]
        if stream is not None and len(drawn[row]) > done:
          stream(row, drawn[row][done:])
      active = active & ~stopped & (int(state.drawn) < options.max_tokens)
      state = dataclasses.replace(state, active=active)
    self._cache, self._ids = cache, ids
    samples = [
      options_lib.Sample(
        tokens=tokens,
        log_probs=np.array(values, np.float32),
        stopped=bool(end),
      )
      for tokens, values, end in zip(drawn, log_probs, stopped, strict=True)
    ]
    return samples[: self._asked]

  def _check(self, prompts, options, indices) -> None:
    if len(prompts) != self._asked:
      raise ValueError(f"{len(prompts)} prompts for batch={self._asked}")
    if indices is not None and len(indices) != self._asked:
      raise ValueError(f"{len(indices)} indices for batch={self._asked}")
    vocabulary = self._sampler.model.config.vocabulary_size
    longest = self._sampler.max_length
    for row, prompt in enumerate(prompts):
      if prompt is None:
        continue
      if not len(prompt):
        raise ValueError(f"prompt {row} is empty: it needs a token to begin")
      if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise ValueError(
          f"prompt {row} has a token outside the vocabulary of {vocabulary}"
        )
      if longest is not None and len(prompt) + options.max_tokens > longest:
        raise ValueError(
          f"prompt {row} of {len(prompt)} tokens with max_tokens="
          f"{options.max_tokens} exceeds max_length={longest}"
        )

  def _unread(self, prompts):
    """Per row: tokens to read, the last token, tokens to keep in the cache."""
    reading: list[list[int]] = [[] for _ in prompts]
    pending = np.zeros(len(prompts), np.int32)
    keep = np.array([len(ids) for ids in self._ids], np.int32)
    for row, prompt in enumerate(prompts):
      if prompt is not None:
        # The last token is always read anew: its logits are needed.
        keep[row] = common_prefix(self._ids[row], prompt[:-1])
        reading[row] = list(prompt[keep[row] : -1])
        pending[row] = prompt[-1]
        self.tokens_reused += int(keep[row])
        self.tokens_read += len(prompt) - int(keep[row])
    return reading, pending, keep

  def _chunks(self, reading: list[list[int]]) -> int:
    return -(-max(map(len, reading)) // self._sampler.prefill_chunk)

  def _make_room(self, cache, keep, reading, limit):
    """A cache with slots for what is to be read, and `limit` more."""
    smallest = self._sampler.prefill_chunk
    needed = self._chunks(reading) * smallest + limit
    slots = slot_bucket(int(keep.max()) + needed, smallest)
    if cache is None:
      config = self._sampler.model.config.transformer
      if self._mesh is None:
        return kv_cache.empty_cache(config, self._batch, slots)
      return _empty_on_mesh(config, self._batch, slots, self._mesh)
    now = kv_cache.num_slots(cache)
    # Attention reads all slots, so a cache far too large is worth a copy.
    if int(cache.used) + needed > now or 4 * slots <= now:
      return _repack(cache, keep, slots, self._mesh)
    return cache

  def _pad(self, reading, keep, columns: int) -> generate.Prompts:
    tokens = np.zeros((self._batch, columns), np.int32)
    mask = np.zeros((self._batch, columns), bool)
    for row, suffix in enumerate(reading):
      tokens[row, : len(suffix)] = suffix
      mask[row, : len(suffix)] = True
    chunks = np.int32(self._chunks(reading))
    return generate.Prompts(tokens=tokens, mask=mask, chunks=chunks, keep=keep)

  def _draw_options(self, options, keys, limit) -> generate.DrawOptions:
    return generate.DrawOptions(
      temperature=np.float32(options.temperature),
      top_k=np.int32(options.top_k),
      top_p=np.float32(options.top_p),
      limit=np.int32(limit),
      keys=keys,
      stop_table=self._sampler.stop_table,
    )

  def _cut(self, tokens: list[int], checked: int) -> int | None:
    if self._sampler.decode is None:
      return None
    return stops.find_stop_string(
      self._sampler.decode, tokens, self._sampler.stop_strings, checked=checked
    )
