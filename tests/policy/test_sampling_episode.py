import jax
import numpy as np
import pytest

from graphgpo_jax.policy import sampling
from tests.policy import tiny_language_models as tiny

RNG = np.random.default_rng(0)
TURNS = 4
OBSERVATIONS = [
  [RNG.integers(0, 64, RNG.integers(1, 6)).tolist() for _ in range(3)]
  for _ in range(TURNS)
]
EOS_IDS = [5, 6, 7, 8]
GREEDY = sampling.SamplingOptions(temperature=0.0, max_tokens=7)
RANDOM = sampling.SamplingOptions(temperature=1.0, top_p=0.95, max_tokens=7)


def make_sampler(eos_ids=(), **options):
  model, variables = tiny.build(tiny.SHALLOW)
  defaults = {"segment": 4, "prefill_chunk": 16, "eos_ids": eos_ids}
  return sampling.Sampler(model, variables, **defaults, **options)


def play(sampler, options, *, reuse, window=None):
  """Plays an episode; row 1 sits out turn 2, row 2 starts again in turn 3.

  Returns all samples, the episode, and the number of prompt tokens that each
  row already held.
  """
  turns = sampler.episode(3)
  held, known = [[], [], []], 0
  histories = [[], [], []]
  result = []
  for turn in range(TURNS):
    if turn == 3:
      histories[2] = []
    prompts = []
    for row, history in enumerate(histories):
      history.append(OBSERVATIONS[turn][row])
      shown = history if window is None else [[1, 2, 3], *history[-window:]]
      prompt = [token for part in shown for token in part]
      prompts.append(None if (turn, row) == (2, 1) else prompt)
    key = jax.random.fold_in(jax.random.key(0), turn)
    batch = turns if reuse else sampler.episode(3)
    samples = batch.sample(prompts, key, options)
    for history, sample in zip(histories, samples, strict=True):
      history.append(sample.tokens)
    result.append([sample.tokens for sample in samples])
    for row, (prompt, sample) in enumerate(zip(prompts, samples, strict=True)):
      assert bool(sample.tokens) == (prompt is not None)
      assert len(sample.log_probs) == len(sample.tokens)
      if prompt is not None:
        alike = [
          old == new for old, new in zip(held[row], prompt[:-1], strict=False)
        ]
        known += [*alike, False].index(False)
        held[row] = prompt + sample.tokens[:-1]
  return result, turns, known


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("options", [GREEDY, RANDOM])
def test_reuse_changes_no_sample(options, window):
  sampler = make_sampler(EOS_IDS)
  expected, _, known = play(sampler, options, reuse=False, window=window)
  found, turns, _ = play(sampler, options, reuse=True, window=window)
  assert found == expected
  assert turns.tokens_reused == known > 0


def one(turns, prompt):
  """A sample of the first of three rows, the others sitting out."""
  return turns.sample([prompt, None, None], jax.random.key(0), GREEDY)[0]


def test_counts():
  turns = make_sampler().episode(3)
  sample = one(turns, [1, 2, 3])
  assert (turns.tokens_reused, turns.tokens_read) == (0, 3)
  # 3 of the prompt and 6 of 7 drawn tokens are in the cache.
  prompt = [1, 2, 3, *sample.tokens, 9]
  one(turns, prompt)
  assert (turns.tokens_reused, turns.tokens_read) == (9, 5)
  # The very same prompt: all but its last token.
  one(turns, prompt)
  assert (turns.tokens_reused, turns.tokens_read) == (19, 6)


def test_tokens_after_a_stop_string_are_forgotten():
  def decode(tokens):
    return "".join(chr(48 + token) for token in tokens)

  free = one(make_sampler().episode(3), [1, 2]).tokens
  sampler = make_sampler(stop_strings=[decode(free[:1])], decode=decode)
  turns = sampler.episode(3)
  first = one(turns, [1, 2])
  assert first.tokens == free[:1]
  assert first.stopped
  prompt = [1, 2, *first.tokens, 40, 41]
  second = one(turns, prompt)
  assert turns.tokens_reused == 3
  assert second.tokens == one(sampler.episode(3), prompt).tokens


def test_the_cache_stays_small():
  """Slots follow the tokens that are held, not all that were ever written."""
  turns = make_sampler().episode(3)
  for turn in range(6):
    # Rows that never share a beginning with what they had.
    prompts = [[turn, *range(10)], [turn] * 3, None]
    turns.sample(prompts, jax.random.key(0), GREEDY)
    assert turns.num_slots <= 64
  one(turns, [9] * 100)
  assert turns.num_slots == 128
  turns.sample([[8], [8], [8]], jax.random.key(0), GREEDY)
  assert turns.num_slots == 16


def test_an_episode_keeps_its_weights():
  sampler = make_sampler()
  turns = sampler.episode(3)
  before = one(turns, [1, 2, 3])
  sampler.variables = jax.tree.map(lambda leaf: -leaf, sampler.variables)
  assert one(turns, [1, 2, 3]).tokens == before.tokens
  assert one(sampler.episode(3), [1, 2, 3]).tokens != before.tokens


def test_a_failed_call_starts_again():
  turns = make_sampler().episode(3)
  first = one(turns, [1, 2, 3])

  def fail(row, tokens):
    raise RuntimeError("the terminal is gone")

  with pytest.raises(RuntimeError, match="terminal"):
    turns.sample([[1, 2, 3]] * 3, jax.random.key(0), GREEDY, stream=fail)
  assert turns.num_slots == 0
  assert one(turns, [1, 2, 3]).tokens == first.tokens
