import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import sampling
from graphgpo_jax.policy.sampling import filters, generate
from tests.policy import tiny_language_models as tiny

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(0, 64, n).tolist() for n in (5, 1, 11)]
GREEDY = sampling.SamplingOptions(temperature=0.0, max_tokens=10)
RANDOM = sampling.SamplingOptions(
  temperature=0.8, top_k=20, top_p=0.9, max_tokens=10
)


def make_sampler(**options):
  model, variables = tiny.build(tiny.SHALLOW)
  return sampling.Sampler(
    model, variables, **{"segment": 4, "prefill_chunk": 8, **options}
  )


@functools.cache
def without_cache():
  """One row's next draw, from a forward pass over all its tokens."""
  model, variables = tiny.build(tiny.SHALLOW)

  @jax.jit
  def draw(tokens, length, key, temperature, top_k, top_p):
    mask = jnp.arange(32) < length
    logits = model.apply(variables, tokens[None], mask[None])[0, length - 1]
    return filters.draw(
      logits[None], key[None], temperature=temperature, top_k=top_k, top_p=top_p
    )

  return draw


def expected_sample(prompt, index, options, key=KEY, count=None):
  """Tokens and log-probabilities of a sequence, token by token."""
  tokens, log_probs = list(prompt), []
  key = jax.random.fold_in(key, index)
  for number in range(count or options.max_tokens):
    token, log_prob = without_cache()(
      np.array(tokens + [0] * (32 - len(tokens)), np.int32),
      np.int32(len(tokens)),
      jax.random.fold_in(key, number),
      np.float32(options.temperature),
      np.int32(options.top_k),
      np.float32(options.top_p),
    )
    tokens.append(int(token[0]))
    log_probs.append(float(log_prob[0]))
  return tokens[len(prompt) :], log_probs


@pytest.mark.parametrize("options", [GREEDY, RANDOM])
def test_samples_equal_uncached_draws(options):
  samples = make_sampler().sample(PROMPTS, KEY, options)
  for index, (prompt, sample) in enumerate(zip(PROMPTS, samples, strict=True)):
    tokens, log_probs = expected_sample(prompt, index, options)
    assert sample.tokens == tokens
    assert sample.log_probs.dtype == np.float32
    np.testing.assert_allclose(sample.log_probs, log_probs, atol=1e-4)
    assert not sample.stopped


def test_greedy_log_probs_are_those_of_temperature_one():
  sample = make_sampler().sample(PROMPTS, KEY, GREEDY)[0]
  model, variables = tiny.build(tiny.SHALLOW)
  tokens = np.array([PROMPTS[0] + sample.tokens], np.int32)
  logits = jax.jit(model.apply)(variables, tokens, tokens >= 0)[0]
  log_probs = jax.nn.log_softmax(logits)[np.arange(4, 14), sample.tokens]
  np.testing.assert_allclose(sample.log_probs, log_probs, atol=1e-4)


def test_a_batch_does_not_change_a_draw():
  sampler = make_sampler()
  together = sampler.sample(PROMPTS, KEY, RANDOM)
  order = [2, 0, 1]
  other = sampler.sample(
    [PROMPTS[row] for row in order], KEY, RANDOM, indices=order
  )
  for place, row in enumerate(order):
    assert other[place].tokens == together[row].tokens
  swapped = sampler.sample([PROMPTS[0], [1, 2], [3]], KEY, RANDOM)
  assert swapped[0].tokens == together[0].tokens
  # The same prompt in two rows is two draws.
  twice = sampler.sample([PROMPTS[0]] * 3, KEY, RANDOM)
  assert len({tuple(sample.tokens) for sample in twice}) > 1
  again = sampler.sample(PROMPTS, jax.random.key(4), RANDOM)
  assert again[0].tokens != together[0].tokens


@pytest.mark.slow
def test_cutting_into_segments_changes_nothing():
  expected = make_sampler().sample(PROMPTS, KEY, RANDOM)
  sampler = make_sampler(segment=3, prefill_chunk=4)
  samples = sampler.sample(PROMPTS, KEY, RANDOM)
  for sample, other in zip(samples, expected, strict=True):
    assert sample.tokens == other.tokens


def test_end_of_text_ends_a_row_early():
  free = [
    sample.tokens for sample in make_sampler().sample(PROMPTS, KEY, RANDOM)
  ]
  end = free[0][5]
  samples = make_sampler(eos_ids=[end]).sample(PROMPTS, KEY, RANDOM)
  for sample, tokens in zip(samples, free, strict=True):
    stopped = end in tokens
    count = tokens.index(end) + 1 if stopped else 10
    assert sample.tokens == tokens[:count]
    assert sample.stopped == stopped
    assert len(sample.log_probs) == count
  assert {sample.stopped for sample in samples} == {True, False}


def test_stop_sequences_of_tokens():
  free = make_sampler().sample(PROMPTS, KEY, RANDOM)[2].tokens
  # One across the border of two segments, one that never comes, and one that
  # begins in the prompt, which does not count.
  stops = [free[3:6], [free[0]] * 5, [PROMPTS[2][-1], free[0]]]
  sample = make_sampler(stop_sequences=stops).sample(PROMPTS, KEY, RANDOM)[2]
  assert sample.tokens == free[:6]
  assert sample.stopped


def letters(tokens):
  return "".join(chr(ord("0") + token) for token in tokens)


@pytest.mark.parametrize("start", [0, 2, 6])
def test_stop_strings(start):
  free = make_sampler().sample(PROMPTS, KEY, RANDOM)
  string = letters(free[0].tokens[start : start + 2])
  seen = []
  samples = make_sampler(stop_strings=[string], decode=letters).sample(
    PROMPTS, KEY, RANDOM, stream=lambda *new: seen.append(new)
  )
  for row, (sample, whole) in enumerate(zip(samples, free, strict=True)):
    found = letters(whole.tokens).find(string)
    count = 10 if found < 0 else found + 2
    assert sample.tokens == whole.tokens[:count]
    assert sample.stopped == (found >= 0)
    np.testing.assert_allclose(
      sample.log_probs, whole.log_probs[:count], atol=1e-5
    )
    streamed = [token for place, new in seen if place == row for token in new]
    assert streamed == sample.tokens
  assert samples[0].stopped


@pytest.mark.slow
def test_options_and_lengths_share_one_program(monkeypatch):
  chex.clear_trace_counter()
  traced = jax.jit(
    chex.assert_max_traces(generate.generate.__wrapped__, n=1),
    static_argnames=("model", "chunk", "segment"),
    donate_argnames=("cache",),
  )
  monkeypatch.setattr(generate, "generate", traced)
  sampler = make_sampler(prefill_chunk=32)
  few = sampling.SamplingOptions(max_tokens=3)
  many = sampling.SamplingOptions(top_k=2, max_tokens=12)
  for prompts, options in (
    (PROMPTS, GREEDY),
    (PROMPTS, RANDOM),
    ([[1], [2, 3], [4] * 20], few),
    ([[5] * 18, [2, 3], None], many),
  ):
    sampler.sample(prompts, KEY, options)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"variables": {}}, "params"),
    ({"stop_strings": ["x"]}, "decode"),
    ({"stop_strings": [""], "decode": letters}, "stop_strings"),
    ({"stop_strings": "x", "decode": letters}, "stop_strings"),
    ({"segment": 0}, "segment"),
    ({"prefill_chunk": 0}, "prefill_chunk"),
  ],
)
def test_what_a_sampler_refuses(changes, message):
  model, variables = tiny.build(tiny.SHALLOW)
  variables = changes.pop("variables", variables)
  with pytest.raises(ValueError, match=message):
    sampling.Sampler(model, variables, **changes)


@pytest.mark.parametrize(
  ("prompts", "indices", "message"),
  [
    ([[1], []], None, "prompt 1 is empty"),
    ([[1], [64]], None, "prompt 1 .* vocabulary of 64"),
    ([[-1], [2]], None, "prompt 0 .* vocabulary of 64"),
    ([[1] * 15, [2]], None, "max_length=24"),
    ([[1]], None, "1 prompts for batch=2"),
    ([[1], [2]], [0], "1 indices for batch=2"),
  ],
)
def test_prompts_that_are_refused(prompts, indices, message):
  turns = make_sampler(max_length=24).episode(2)
  with pytest.raises(ValueError, match=message):
    turns.sample(prompts, KEY, GREEDY, indices=indices)


def test_an_empty_batch_is_refused():
  with pytest.raises(ValueError, match="batch=0"):
    make_sampler().sample([], KEY, GREEDY)
