"""Rows of tokens against the episodes they were made of."""

import dataclasses

import numpy as np
import pytest

from graphgpo_jax.rollouts import turns
from tests.rollouts import made_episodes

FORMS = [turns.step_rows, turns.episode_rows]
COUNTS = (3, 1, 0, 5)


def made(seed=0, **options):
  random = np.random.default_rng(seed)
  return made_episodes.random_episodes(random, COUNTS, **options)


def turn(prompt, response):
  return turns.Turn(prompt, response, -np.ones(len(response)))


def by_hand():
  return [
    turns.Episode([turn([5, 6], [7, 2]), turn([5, 6, 7, 2, 8], [9, 2])]),
    turns.Episode([turn([4], [3])]),
  ]


def test_a_row_per_step_by_hand():
  rows, cut = turns.step_rows(by_hand(), [[0.5, -1.0], [2.0]])
  assert cut == 0
  np.testing.assert_array_equal(
    rows.tokens,
    [[5, 6, 7, 2, 0, 0, 0], [5, 6, 7, 2, 8, 9, 2], [4, 3, 0, 0, 0, 0, 0]],
  )
  np.testing.assert_array_equal(
    rows.step,
    [[-1, -1, 0, 0, -1, -1, -1], [-1] * 5 + [1, 1], [-1, 0] + [-1] * 5],
  )
  np.testing.assert_array_equal(rows.loss_mask, rows.step >= 0)
  np.testing.assert_array_equal(
    rows.advantage,
    [[0, 0, 0.5, 0.5, 0, 0, 0], [0] * 5 + [-1, -1], [0, 2, 0, 0, 0, 0, 0]],
  )
  np.testing.assert_array_equal(rows.mask.sum(1), [4, 7, 2])
  np.testing.assert_array_equal(rows.episode[:, 0], [0, 0, 1])


def test_a_row_per_episode_by_hand():
  rows, cut = turns.episode_rows(by_hand(), [[0.5, -1.0], [2.0]])
  assert cut == 0
  np.testing.assert_array_equal(
    rows.tokens, [[5, 6, 7, 2, 8, 9, 2], [4, 3, 0, 0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(
    rows.step, [[-1, -1, 0, 0, -1, 1, 1], [-1, 0] + [-1] * 5]
  )
  np.testing.assert_array_equal(
    rows.advantage, [[0, 0, 0.5, 0.5, 0, -1, -1], [0, 2, 0, 0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(
    rows.position, [range(7), [0, 1, 0, 0, 0, 0, 0]]
  )
  np.testing.assert_array_equal(rows.segment, np.where(rows.mask, 0, -1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_loss_is_on_the_agents_tokens_and_on_no_other(form, seed):
  episodes, advantages = made(seed)
  rows, _ = form(episodes, advantages)
  assert not rows.loss_mask[~rows.mask].any()
  assert not rows.loss_mask[:, 0].any()
  assert not rows.advantage[~rows.loss_mask].any()
  assert not rows.old_log_prob[~rows.loss_mask].any()
  expected = {
    (index, step, rank): (
      turn.response_tokens[rank],
      advantages[index][step],
      turn.response_log_probs[rank],
    )
    for index, episode in enumerate(episodes)
    for step, turn in enumerate(episode.turns)
    for rank in range(len(turn.response_tokens))
  }
  # Equal as dictionaries: no token of the agent is missing, twice or made up.
  assert made_episodes.by_token(rows) == expected
  assert rows.loss_mask.sum() == len(expected)


@pytest.mark.parametrize("form", FORMS)
def test_every_token_stands_after_what_the_sampler_saw(form):
  episodes, advantages = made()
  rows, _ = form(episodes, advantages)
  steps = set()
  for row, column in np.argwhere(rows.loss_mask):
    step = rows.step[row, column]
    turn = episodes[rows.episode[row, column]].turns[step]
    start = column - np.sum(rows.step[row, :column] == step)
    np.testing.assert_array_equal(rows.tokens[row, :start], turn.prompt_tokens)
    steps.add((rows.episode[row, column], step))
  assert len(steps) == sum(COUNTS)


def test_prompts_of_the_last_turns_give_rows_of_steps_only():
  episodes, advantages = made(extend=False)
  rows, _ = turns.step_rows(episodes, advantages)
  assert len(rows.tokens) == sum(COUNTS)
  with pytest.raises(ValueError, match="episode 0, turn 1: the prompt does"):
    turns.episode_rows(episodes, advantages)


@pytest.mark.parametrize(
  "prompt, token",
  [([5, 6, 1, 2, 8], 2), ([5, 6, 7], 3), ([6, 6, 7, 2], 0)],
)
def test_the_first_token_that_does_not_extend_is_named(prompt, token):
  second = turns.Episode([turn([5, 6], [7, 2]), turn(prompt, [9])])
  episodes = [*by_hand(), second]
  words = f"episode 2, turn 1: .* 4 tokens, from token {token} on"
  with pytest.raises(ValueError, match=words):
    turns.episode_rows(episodes, np.zeros((3, 2)))


@pytest.mark.parametrize("form", FORMS)
def test_padded_advantages_and_sequences_are_alike(form):
  episodes, advantages = made()
  padded = np.full((len(COUNTS), 7), np.nan, np.float32)
  for row, values in zip(padded, advantages, strict=True):
    row[: len(values)] = values
  for one, other in zip(
    form(episodes, advantages).rows.values(),
    form(episodes, padded).rows.values(),
    strict=True,
  ):
    np.testing.assert_array_equal(one, other)


def test_truncation_takes_the_prompts_beginning():
  rows, cut = turns.step_rows(by_hand(), np.ones((2, 2)), max_length=4)
  assert cut == 1
  np.testing.assert_array_equal(
    rows.tokens, [[5, 6, 7, 2], [2, 8, 9, 2], [4, 3, 0, 0]]
  )
  np.testing.assert_array_equal(rows.step[1], [-1, -1, 1, 1])
  np.testing.assert_array_equal(rows.position[1], range(4))
  rows, cut = turns.episode_rows(by_hand(), np.ones((2, 2)), max_length=6)
  assert cut == 1
  np.testing.assert_array_equal(rows.tokens[0], [6, 7, 2, 8, 9, 2])
  np.testing.assert_array_equal(rows.step[0], [-1, 0, 0, -1, 1, 1])


@pytest.mark.parametrize("form", FORMS)
def test_truncation_never_touches_a_response(form):
  episodes, advantages = made()
  whole, _ = form(episodes, advantages)
  longest = whole.mask.sum(1)
  needed = (longest - np.argmax(whole.loss_mask, 1) + 1).max()
  assert needed < longest.max()
  rows, cut = form(episodes, advantages, max_length=int(needed))
  assert cut == np.sum(longest > needed) > 0
  assert rows.tokens.shape[1] == needed
  assert not rows.loss_mask[:, 0].any()
  assert made_episodes.by_token(rows) == made_episodes.by_token(whole)
  with pytest.raises(ValueError, match=f"exceed max_length={needed - 1}"):
    form(episodes, advantages, max_length=int(needed) - 1)


def test_longer_rows_than_needed_are_padded():
  rows, cut = turns.step_rows(by_hand(), np.ones((2, 2)), max_length=12)
  assert cut == 0 and rows.tokens.shape == (3, 12)
  assert not rows.mask[:, 7:].any() and (rows.episode[:, 7:] == -1).all()


def test_a_response_without_room_is_named():
  with pytest.raises(
    ValueError, match="episode 0, turn 1: 2 tokens .* max_length=2"
  ):
    turns.step_rows(
      [turns.Episode([turn([1], [1]), turn([1], [1, 1])])],
      [[1.0, 1.0]],
      max_length=2,
    )


@pytest.mark.parametrize(
  "change, words",
  [
    ({"prompt_tokens": []}, "prompt_tokens must be a non-empty"),
    ({"response_tokens": []}, "response_tokens must be a non-empty"),
    ({"prompt_tokens": [[1]]}, "prompt_tokens must be a non-empty"),
    ({"prompt_tokens": [1.0]}, "prompt_tokens must be integers"),
    ({"response_tokens": [3, -1]}, "response_tokens holds -1..3"),
    ({"response_tokens": [3, 2**31]}, "response_tokens holds"),
    ({"response_log_probs": [-1.0]}, r"response_log_probs .*\(2,\), got"),
    ({"response_log_probs": [-1.0, np.nan]}, "log_probs must be finite"),
  ],
)
def test_bad_turns_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    dataclasses.replace(turn([1, 2], [3, 4]), **change)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
  "advantages, words",
  [
    ([[1.0, 1.0]], "advantages of 1 episodes, but there are 2"),
    ([[1.0, 1.0], []], r"episode 1 has 1 turns.* \(0,\)"),
    ([[1.0, 1.0], [1.0, 1.0]], r"episode 1 has 1 turns.* \(2,\)"),
    (np.ones((2, 1)), "episode 0 has 2 turns"),
    ([[1.0, np.inf], [1.0]], "episode 0: advantages must be finite"),
  ],
)
def test_advantages_that_do_not_fit_are_refused(form, advantages, words):
  with pytest.raises(ValueError, match=words):
    form(by_hand(), advantages)


@pytest.mark.parametrize("form", FORMS)
def test_no_turn_at_all_is_refused(form):
  with pytest.raises(ValueError, match="no turn"):
    form([turns.Episode([])], [[]])
