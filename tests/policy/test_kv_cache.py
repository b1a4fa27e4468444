import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import kv_cache, transformer
from tests.policy import tiny_language_models as tiny

RNG = np.random.default_rng(1)
LENGTHS = np.array([11, 7, 4])
TOKENS = RNG.integers(0, 64, (3, 11)).astype(np.int32)


@functools.cache
def functions(config=tiny.CONFIG):
  model, variables = tiny.build(config)
  hidden = jax.jit(functools.partial(model.apply, method="hidden"))
  extend = jax.jit(functools.partial(model.apply, method="extend"))
  return functools.partial(hidden, variables), functools.partial(
    extend, variables
  )


def whole(config=tiny.CONFIG):
  """Hidden states of the rows without a cache, a list of [length, D]."""
  hidden, _ = functions(config)
  states = hidden(TOKENS, np.arange(11) < LENGTHS[:, None])
  return [np.asarray(row[:n]) for row, n in zip(states, LENGTHS, strict=True)]


def cut_up(seed):
  """Random chunks of random lengths, each token at a random column of its."""
  rng = np.random.default_rng(seed)
  start = np.zeros(3, int)
  while np.any(start < LENGTHS):
    count = np.minimum(rng.integers(0, 5, 3), LENGTHS - start)
    tokens = np.full((3, 4), 10_000, np.int32)
    mask = np.zeros((3, 4), bool)
    for row in range(3):
      columns = np.sort(rng.permutation(4)[: count[row]])
      tokens[row, columns] = TOKENS[row, start[row] :][: count[row]]
      mask[row, columns] = True
    start += count
    yield tokens, mask


def read(cache, chunks, config=tiny.CONFIG):
  _, extend = functions(config)
  states = [[] for _ in range(3)]
  for tokens, mask in chunks:
    hidden, cache = extend(tokens, mask, cache)
    chex.assert_tree_all_finite(hidden)
    for row in range(3):
      states[row] += list(np.asarray(hidden)[row, mask[row]])
  return states, cache


@pytest.mark.parametrize(
  ("config", "seed"), [(tiny.CONFIG, 0), (tiny.CONFIG, 1), (tiny.OTHER, 2)]
)
def test_any_chunks_equal_the_whole(config, seed):
  cache = kv_cache.empty_cache(config.transformer, 3, 64)
  states, cache = read(cache, cut_up(seed), config)
  for state, expected in zip(states, whole(config), strict=True):
    np.testing.assert_allclose(state, expected, atol=1e-5)
  np.testing.assert_array_equal(cache.next_position, LENGTHS)
  np.testing.assert_array_equal(cache.mask.sum(-1), LENGTHS)


def test_one_token_at_a_time():
  columns = np.arange(11)[None] < LENGTHS[:, None]
  chunks = [(TOKENS[:, i : i + 1], columns[:, i : i + 1]) for i in range(11)]
  cache = kv_cache.empty_cache(tiny.CONFIG.transformer, 3, 64)
  states, cache = read(cache, chunks)
  assert int(cache.used) == 11
  for state, expected in zip(states, whole(), strict=True):
    np.testing.assert_allclose(state, expected, atol=1e-5)


@pytest.mark.parametrize("slots", [None, 16])
def test_reading_goes_on_after_truncation_and_repacking(slots):
  # Other tokens first: what is forgotten must leave no trace.
  keep = np.array([3, 0, 4], np.int32)
  before = np.where(np.arange(11) < keep[:, None], TOKENS, 63 - TOKENS)
  cache = kv_cache.empty_cache(tiny.CONFIG.transformer, 3, 64)
  _, extend = functions()
  for start in range(0, 8, 4):
    mask = np.arange(start, start + 4) % 3 != np.arange(3)[:, None]
    _, cache = extend(before[:, start : start + 4], mask, cache)
  # The first tokens of each row, some columns being padding.
  kept = [
    [t for i, t in enumerate(before[row, :8]) if i % 3 != row]
    for row in range(3)
  ]
  cache = jax.jit(kv_cache.truncate)(cache, keep)
  np.testing.assert_array_equal(cache.next_position, keep)
  if slots is not None:
    cache = jax.jit(kv_cache.repack, static_argnums=1)(cache, slots)
    assert kv_cache.num_slots(cache) == slots
    assert int(cache.used) == 4
  rows = [kept[row][: keep[row]] + TOKENS[row, :4].tolist() for row in range(3)]
  tokens = np.array([row + [0] * (11 - len(row)) for row in rows], np.int32)
  mask = np.arange(11) < np.array([[len(row)] for row in rows])
  hidden, _ = functions()
  expected = hidden(tokens, mask)
  found, cache = extend(TOKENS[:, :4], np.ones((3, 4), bool), cache)
  for row in range(3):
    np.testing.assert_allclose(
      found[row], expected[row, keep[row] : keep[row] + 4], atol=1e-5
    )


def test_truncation_keeps_what_is_shorter():
  cache = kv_cache.empty_cache(tiny.CONFIG.transformer, 3, 64)
  _, cache = read(cache, cut_up(0))
  kept = kv_cache.truncate(cache, np.full(3, 100, np.int32))
  chex.assert_trees_all_equal(kept, cache)


def test_shapes_and_type():
  config = tiny.OTHER.transformer
  cache = kv_cache.empty_cache(config, 5, 32, jnp.bfloat16)
  assert len(cache.key) == len(cache.value) == 2
  chex.assert_shape(cache.key[0], (5, 2, 32, 6))
  assert cache.value[1].dtype == jnp.bfloat16
  assert kv_cache.empty_cache(config, 5, 32).key[0].dtype == jnp.float32


def test_a_bfloat16_cache_is_close():
  cache = kv_cache.empty_cache(tiny.CONFIG.transformer, 3, 64, jnp.bfloat16)
  states, cache = read(cache, cut_up(0))
  assert cache.key[0].dtype == jnp.bfloat16
  for state, expected in zip(states, whole(), strict=True):
    np.testing.assert_allclose(state, expected, atol=0.1)


def test_what_a_cache_refuses():
  config = transformer.TransformerConfig(num_layers=1, width=8, num_heads=2)
  module = transformer.Transformer(config)
  cache = kv_cache.empty_cache(config, 1, 4)
  inputs = (jnp.zeros((1, 2, 8)), jnp.ones((1, 2), bool))
  with pytest.raises(ValueError, match="causal"):
    module.init(jax.random.key(0), *inputs, cache=cache)
  causal = transformer.Transformer(tiny.CONFIG.transformer)
  with pytest.raises(ValueError, match="segments"):
    causal.init(
      jax.random.key(0),
      jnp.zeros((1, 2, 32)),
      inputs[1],
      segments=jnp.zeros((1, 2), jnp.int32),
      cache=kv_cache.empty_cache(tiny.CONFIG.transformer, 1, 4),
    )


def test_decoding_copies_no_cache():
  """The loop's temporaries are smaller than one layer's keys."""
  model, variables = tiny.build()
  batch, slots = 4, 4096
  cache = jax.eval_shape(
    lambda: kv_cache.empty_cache(tiny.CONFIG.transformer, batch, slots)
  )

  def loop(variables, cache):
    def step(_, cache):
      tokens = jnp.zeros((batch, 1), jnp.int32)
      mask = jnp.ones((batch, 1), bool)
      return model.apply(variables, tokens, mask, cache, method="extend")[1]

    return jax.lax.fori_loop(0, 8, step, cache)

  compiled = (
    jax.jit(loop, donate_argnums=1).lower(variables, cache).compile(tiny.QUICK)
  )
  memory = compiled.memory_analysis()
  layer = batch * slots * 2 * 8 * 4
  assert memory.alias_size_in_bytes >= 4 * layer
  assert memory.temp_size_in_bytes < layer
