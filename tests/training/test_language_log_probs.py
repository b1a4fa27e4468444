"""What a trainer says of the tokens of rows."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax.policy.sampling import options as sampling_options
from graphgpo_jax.policy.sampling import sampler
from graphgpo_jax.rollouts import turns
from tests.training.language_rows import (
  VOCABULARY,
  WEIGHS,
  assert_same_by_token,
  log_probs,
  make_episode_rows,
  make_rows,
  model,
  of_tokens,
  pack,
  pad,
  score,
  variables,
)


@pytest.mark.parametrize("tied, temperature", [(True, 1.0), (False, 0.7)])
def test_log_probs_are_those_of_the_tokens_own_prefix(tied, temperature):
  rows = make_rows()
  given = variables(tied=tied)
  found, entropy = log_probs(tied=tied, temperature=temperature)(given, rows)
  logits = jax.jit(model(tied=tied).apply)(given, rows.tokens, rows.mask)
  logits = logits / temperature
  expected = np.asarray(jax.nn.log_softmax(logits))
  count = 0
  for row, column in np.argwhere(rows.loss_mask):
    before = expected[row, column - 1]
    np.testing.assert_allclose(
      found[row, column], before[rows.tokens[row, column]], atol=2e-5
    )
    np.testing.assert_allclose(
      entropy[row, column], -np.sum(np.exp(before) * before), atol=2e-5
    )
    count += 1
  assert count == rows.loss_mask.sum() > 20
  spread = np.asarray(found)[rows.loss_mask]
  assert np.ptp(spread) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_trainer_agree(temperature):
  """On tokens that a cache of two turns and a filter were used to draw."""
  options = sampling_options.SamplingOptions(
    temperature=temperature, top_k=20, max_tokens=6
  )
  conversations = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]
  talk = small_sampler().episode(3)
  made = [[] for _ in conversations]
  for key in jax.random.split(jax.random.key(1), 2):
    samples = talk.sample(conversations, key, options)
    for index, (prompt, sample) in enumerate(
      zip(conversations, samples, strict=True)
    ):
      turn = turns.Turn(prompt, sample.tokens, sample.log_probs)
      made[index].append(turn)
      conversations[index] = [*prompt, *sample.tokens, 7, 8]
  assert talk.tokens_reused > 0
  for form in (turns.step_rows, turns.episode_rows):
    rows = pad(
      form([turns.Episode(each) for each in made], np.ones((3, 2))).rows
    )
    assert rows.loss_mask.sum() == sum(
      len(turn.response_tokens) for each in made for turn in each
    )
    log_prob, entropy = log_probs(temperature=temperature)(variables(), rows)
    _, metrics = score(WEIGHS[0], log_prob, entropy, rows)
    assert metrics["sampler/difference_max"] < 1e-3
    # The ids are the sampler's own: with others the two would be far apart.
    rows.tokens[rows.loss_mask] = (rows.tokens[rows.loss_mask] + 1) % VOCABULARY
    log_prob, entropy = log_probs(temperature=temperature)(variables(), rows)
    _, metrics = score(WEIGHS[0], log_prob, entropy, rows)
    assert metrics["sampler/difference_mean"] > 0.3


@functools.cache
def small_sampler():
  return sampler.Sampler(
    model(), variables(), eos_ids=[2], segment=4, prefill_chunk=32
  )


@pytest.mark.parametrize("change", ["packed", "one row per episode"])
def test_log_probs_do_not_depend_on_the_form_of_the_rows(change):
  rows = make_rows()
  other = pack(rows) if change == "packed" else make_episode_rows()
  for index in range(2):
    expected, found = (
      of_tokens(form, log_probs()(variables(), form)[index])
      for form in (rows, other)
    )
    assert_same_by_token(found, expected, 1e-5)
