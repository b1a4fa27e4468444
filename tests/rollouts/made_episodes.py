"""Episodes of a language agent with random token ids."""

import numpy as np

from graphgpo_jax.rollouts import turns


def random_episodes(random, num_turns, *, vocabulary=64, extend=True):
  """One episode per entry of `num_turns`, with advantages of its steps.

  Args:
    random: NumPy generator.
    num_turns: turns of each episode.
    vocabulary: ids are below it.
    extend: prompts hold the whole conversation before them; otherwise the
      last response only, behind a token of their own.
  """

  def ids(low, high):
    return random.integers(0, vocabulary, random.integers(low, high))

  episodes, advantages = [], []
  for count in num_turns:
    conversation = ids(3, 9)
    made = []
    for _ in range(count):
      response = ids(1, 6)
      made.append(
        turns.Turn(conversation, response, -random.random(response.size) - 0.1)
      )
      before = np.concatenate([conversation, response])
      seen = before if extend else np.append(ids(1, 2), response)
      # At times the agent goes on without a word from the environment.
      conversation = np.concatenate([seen, ids(0, 7)])
    episodes.append(turns.Episode(made))
    advantages.append(random.normal(size=count).astype(np.float32))
  return episodes, advantages


def by_token(rows):
  """(episode, step, rank in the response) -> what the loss sees of a token."""
  found, ranks = {}, {}
  for row, column in np.argwhere(rows.loss_mask):
    key = (int(rows.episode[row, column]), int(rows.step[row, column]))
    rank = ranks[key] = ranks.get(key, -1) + 1
    found[*key, rank] = (
      int(rows.tokens[row, column]),
      float(rows.advantage[row, column]),
      float(rows.old_log_prob[row, column]),
    )
  return found
