"""One compiled program that reads prompts and draws tokens.

Both loops run on the device: over chunks of the prompts, then over tokens
until every sequence has ended. The cache is donated and updated in place. All
lengths are traced, so one batch size and one number of slots compile once.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.policy import kv_cache, language_model, partition
from graphgpo_jax.policy.sampling import filters, stops


@chex.dataclass(frozen=True)
class DecodeState:
  """Where each sequence of a batch stands between two calls."""

  pending: chex.Array  # int32 [N], last token, not in the cache yet
  active: chex.Array  # bool [N], still drawing
  recent: chex.Array  # int32 [N, W], last tokens drawn, for stop sequences
  drawn: chex.Array  # int32 [], tokens drawn so far by each active sequence


@chex.dataclass(frozen=True)
class Segment:
  """Tokens drawn by one call."""

  tokens: chex.Array  # int32 [N, T], 0 where not drawn
  log_prob: chex.Array  # float32 [N, T], nats, 0 where not drawn
  mask: chex.Array  # bool [N, T], True where drawn


@chex.dataclass(frozen=True)
class Prompts:
  """What the cache lacks of the prompts, but for each one's last token."""

  tokens: chex.Array  # int32 [N, P], P a multiple of the prefill's chunk
  mask: chex.Array  # bool [N, P], True where there is a token
  chunks: chex.Array  # int32 [], chunks that hold any token
  keep: chex.Array  # int32 [N], tokens of the cache that the prompts start with


@chex.dataclass(frozen=True)
class DrawOptions:
  """`SamplingOptions` as traced numbers, and what is fixed with them."""

  temperature: chex.Array  # float32 [], at least 0
  top_k: chex.Array  # int32 [], 0 for all
  top_p: chex.Array  # float32 [], in (0, 1]
  limit: chex.Array  # int32 [], most tokens of this call, at most T
  keys: chex.Array  # typed PRNG keys [N], one a sequence
  stop_table: chex.Array  # int32 [R, W], from `stops.stop_table`


def prefill(
  model: language_model.LanguageModel,
  variables: Any,
  cache: kv_cache.KVCache,
  prompts: Prompts,
  *,
  chunk: int,
) -> kv_cache.KVCache:
  """Reads the prompts into the cache, `chunk` columns at a time.

  Equal chunks instead of one long one: any length compiles once, and scores
  of attention take [N, H, chunk, S] instead of [N, H, P, S].

  Args:
    model: the language model.
    variables: its parameters, and adapters if any.
    cache: with room for `prompts.chunks * chunk` slots.
    prompts: what to read.
    chunk: columns of one step.

  Returns:
    The cache with the prompts in it.
  """

  def read_chunk(index, cache):
    tokens, mask = (
      jax.lax.dynamic_slice_in_dim(part, index * chunk, chunk, axis=1)
      for part in (prompts.tokens, prompts.mask)
    )
    _, cache = model.apply(variables, tokens, mask, cache, method="extend")
    return cache

  cache = kv_cache.truncate(cache, prompts.keep)
  return jax.lax.fori_loop(0, prompts.chunks, read_chunk, cache)


def decode(
  model: language_model.LanguageModel,
  variables: Any,
  cache: kv_cache.KVCache,
  state: DecodeState,
  options: DrawOptions,
  *,
  segment: int,
) -> tuple[kv_cache.KVCache, DecodeState, Segment]:
  """Draws tokens until every sequence has ended or `options.limit` is reached.

  Token number t of a sequence is drawn with its key folded with t, so that
  neither its batch nor the cutting into calls changes a draw.

  Args:
    model: the language model.
    variables: its parameters, and adapters if any.
    cache: with room for `options.limit` slots.
    state: where the sequences stand.
    options: how to draw.
    segment: T, columns of the result.

  Returns:
    Cache, state and tokens. A sequence's last token stays `pending`.
  """
  batch = state.pending.shape[0]
  empty = Segment(
    tokens=jnp.zeros((batch, segment), jnp.int32),
    log_prob=jnp.zeros((batch, segment)),
    mask=jnp.zeros((batch, segment), bool),
  )

  def goes_on(carry):
    step, _, state, _ = carry
    return (step < options.limit) & jnp.any(state.active)

  def draw_one(carry):
    step, cache, state, result = carry
    active = state.active
    hidden, cache = model.apply(
      variables,
      state.pending[:, None],
      active[:, None],
      cache,
      method="extend",
    )
    logits = model.apply(variables, hidden[:, 0], method="logits")
    token, log_prob = filters.draw(
      logits,
      jax.vmap(jax.random.fold_in, (0, None))(options.keys, state.drawn),
      temperature=options.temperature,
      top_k=options.top_k,
      top_p=options.top_p,
    )
    recent = jnp.concatenate([state.recent[:, 1:], token[:, None]], axis=1)
    column = Segment(
      tokens=jnp.where(active, token, 0),
      log_prob=jnp.where(active, log_prob, 0.0),
      mask=active,
    )
    result = jax.tree.map(lambda x, new: x.at[:, step].set(new), result, column)
    state = DecodeState(
      pending=jnp.where(active, token, state.pending),
      active=active & ~stops.ends_with_stop(recent, options.stop_table),
      recent=recent,
      drawn=state.drawn + 1,
    )
    return step + 1, cache, state, result

  carry = (jnp.zeros((), jnp.int32), cache, state, empty)
  _, cache, state, result = jax.lax.while_loop(goes_on, draw_one, carry)
  return cache, state, result


@functools.partial(
  jax.jit,
  static_argnames=("model", "chunk", "segment", "mesh"),
  donate_argnames=("cache",),
)
def generate(
  model: language_model.LanguageModel,
  variables: Any,
  cache: kv_cache.KVCache,
  prompts: Prompts,
  state: DecodeState,
  options: DrawOptions,
  *,
  chunk: int,
  segment: int,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[kv_cache.KVCache, DecodeState, Segment]:
  """`prefill`, then `decode`; a call with 0 chunks goes on decoding.

  With a `mesh`, that of the variables, the cache is and stays divided as
  `partition.constrain_cache` says.
  """
  with partition.within(mesh):
    cache = prefill(model, variables, cache, prompts, chunk=chunk)
    cache, state, result = decode(
      model, variables, cache, state, options, segment=segment
    )
  return partition.constrain_cache(cache, mesh), state, result
