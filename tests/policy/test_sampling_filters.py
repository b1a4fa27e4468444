import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy.sampling import filters

RNG = np.random.default_rng(0)
LOGITS = (3 * RNG.normal(size=(4, 50))).astype(np.float32)
SHARP = (40 * RNG.normal(size=(4, 50))).astype(np.float32)


def softmax(logits):
  weights = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True)


def kept_by_sorting(logits, top_k, top_p):
  """Which tokens stay, row by row, from a sort."""
  result = np.zeros(logits.shape, bool)
  for row, values in enumerate(logits):
    order = np.argsort(-values)
    order = order[: top_k or len(values)]
    mass = np.cumsum(softmax(values[order]))
    needed = int(np.sum(mass < top_p)) + 1 if top_p < 1 else len(order)
    result[row, order[:needed]] = True
  return result


@pytest.mark.parametrize("logits", [LOGITS, SHARP, -np.abs(SHARP)])
def test_filters_equal_a_sort(logits):
  chex.clear_trace_counter()

  @jax.jit
  @chex.assert_max_traces(1)
  def both(top_k, top_p):
    return filters.keep_top_p(filters.keep_top_k(logits, top_k), top_p)

  for top_k in (0, 1, 7, 49, 50, 80):
    for top_p in (1.0, 0.999, 0.9, 0.5, 0.01):
      result = np.asarray(both(np.int32(top_k), np.float32(top_p)))
      expected = kept_by_sorting(logits, top_k, top_p)
      # A token whose probability is 0 in float32 may stay or go.
      drawable = expected & (softmax(logits) > 1e-7)
      np.testing.assert_array_equal(
        np.isfinite(result) & (softmax(logits) > 1e-7), drawable
      )
      np.testing.assert_array_equal(result[drawable], logits[drawable])


def test_ties_stay_together():
  logits = jnp.array([[0.0, 1.0, -0.0, 1.0, 2.0, 0.0]])

  def finite(x):
    return np.isfinite(x[0]).tolist()

  kept = finite(filters.keep_top_k(logits, 2))
  assert kept == [False, True, False, True, True, False]
  kept = finite(filters.keep_top_k(logits, 4))
  assert kept == [True] * 6
  even = jnp.zeros((1, 6))
  assert finite(filters.keep_top_p(even, 0.3)) == [True] * 6


def test_bits_keep_the_order():
  values = np.array(
    [-np.inf, -3e38, -1.5, -1e-40, -0.0, 0.0, 1e-45, 1.0, 3e38, np.inf],
    np.float32,
  )
  bits = np.asarray(filters.sortable_bits(jnp.asarray(values)))
  # XLA may flush subnormal numbers to 0 first.
  assert np.all(np.diff(bits.astype(np.int64)) >= 0)
  assert np.all(np.diff(bits[[0, 1, 2, 4, 7, 8, 9]].astype(np.int64)) > 0)
  assert bits[4] == bits[5]


@jax.jit
def draw_from_first(keys, temperature, top_k, top_p):
  logits = jnp.broadcast_to(LOGITS[0], (4000, 50))
  return filters.draw(
    logits, keys, temperature=temperature, top_k=top_k, top_p=top_p
  )


def draw_many(temperature=1.0, top_k=0, top_p=1.0):
  keys = jax.random.split(jax.random.key(0), 4000)
  return draw_from_first(keys, temperature, top_k, top_p)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_p": 0.8},
    {"temperature": 2.0, "top_k": 10, "top_p": 0.7},
  ],
)
def test_draws_follow_the_filtered_distribution(options):
  tokens, log_prob = draw_many(**options)
  scaled = LOGITS[:1] / options.get("temperature", 1.0)
  kept = kept_by_sorting(
    scaled, options.get("top_k", 0), options.get("top_p", 1.0)
  )
  expected = softmax(np.where(kept, scaled, -np.inf))[0]
  share = np.bincount(tokens, minlength=50) / 4000
  assert np.all(share[~kept[0]] == 0)
  # Five standard errors of each share.
  error = 5 * np.sqrt(expected * (1 - expected) / 4000) + 1e-3
  assert np.all(np.abs(share - expected) < error)
  # The log-probability is that of the whole vocabulary.
  np.testing.assert_allclose(
    log_prob, np.log(softmax(scaled)[0])[tokens], atol=1e-5
  )


def test_greedy_takes_the_likeliest():
  tokens, log_prob = draw_many(0.0, 5, 0.5)
  np.testing.assert_array_equal(tokens, np.argmax(LOGITS[0]))
  np.testing.assert_allclose(log_prob, np.log(softmax(LOGITS)[0].max()), 1e-5)


def test_a_row_draws_alike_in_any_batch():
  keys = jax.random.split(jax.random.key(1), 4)
  draw = jax.jit(
    lambda logits, keys: filters.draw(
      logits, keys, temperature=1.0, top_k=0, top_p=0.95
    )
  )
  tokens, _ = draw(LOGITS, keys)
  for row in range(4):
    alone, _ = draw(LOGITS[row : row + 1], keys[row : row + 1])
    assert alone[0] == tokens[row]
