"""Episodes of a language agent, and the rows of tokens it is trained on.

An episode is a list of turns: a prompt that was fed to the sampler and the
response it gave. Token ids and log-probabilities travel with the rollout and
are never made again from text, since a text has many tokenisations and only
one of them was sampled.

A row has one of two forms. `step_rows` gives one row per turn: its own prompt,
then its response. `episode_rows` gives one row per episode: the conversation
once, where each prompt extends what went before. Either way a token that the
agent produced carries loss once, with the advantage of its step, and no other
token does.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
  """One call of the sampler.

  Attributes:
    prompt_tokens: int32 [P], P >= 1, all that the sampler was fed, with
      whatever of the earlier turns it was shown.
    response_tokens: int32 [S], S >= 1, as sampled, a stop token included.
    response_log_probs: float32 [S], of those tokens at sampling.
  """

  prompt_tokens: np.ndarray
  response_tokens: np.ndarray
  response_log_probs: np.ndarray

  def __post_init__(self):
    for name in ("prompt_tokens", "response_tokens"):
      object.__setattr__(self, name, _token_ids(name, getattr(self, name)))
    log_probs = np.asarray(self.response_log_probs, np.float32)
    if log_probs.shape != self.response_tokens.shape:
      raise ValueError(
        "response_log_probs must have one entry per token of the response, "
        f"shape {self.response_tokens.shape}, got {log_probs.shape}"
      )
    if not np.isfinite(log_probs).all():
      raise ValueError("response_log_probs must be finite")
    object.__setattr__(self, "response_log_probs", log_probs)


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
  """The turns of one rollout in order; turn t is its step t.

  Attributes:
    turns: any number of them.
  """

  turns: tuple[Turn, ...]

  def __post_init__(self):
    object.__setattr__(self, "turns", tuple(self.turns))


@chex.dataclass(frozen=True)
class TokenRows:
  """Rows of tokens to train on, padded on the right.

  Entry t of every array is about token t itself, which a model predicts from
  the tokens before it: `old_log_prob[t]` is log p(tokens[t] | tokens[<t]). The
  first token of a segment has nothing before it and never carries loss.
  """

  tokens: chex.Array  # int32 [R, L], 0 in padding
  mask: chex.Array  # bool [R, L], True where there is a token
  loss_mask: chex.Array  # bool [R, L], True where the agent produced the token
  advantage: chex.Array  # float32 [R, L], of the token's step; 0 without loss
  old_log_prob: chex.Array  # float32 [R, L], at sampling; 0 without loss
  position: chex.Array  # int32 [R, L], within the segment, from 0
  segment: chex.Array  # int32 [R, L], from 0 within a row; -1 in padding
  episode: chex.Array  # int32 [R, L], index of the episode; -1 in padding
  step: chex.Array  # int32 [R, L], step that produced the token; -1 elsewhere


class Collated(NamedTuple):
  """Rows and what was cut off them.

  Attributes:
    rows: TokenRows of NumPy arrays.
    num_truncated: rows that lost tokens on the left. What is left of their
      prompt is not what the sampler saw, so log-probabilities of sampler and
      trainer differ there.
  """

  rows: TokenRows
  num_truncated: int


class _Row(NamedTuple):
  episode: int
  tokens: np.ndarray  # int32 [L]
  step: np.ndarray  # int32 [L], -1 where the agent produced nothing
  log_prob: np.ndarray  # float32 [L]


def empty_rows(num_rows: int, length: int) -> TokenRows:
  """TokenRows of NumPy arrays [num_rows, length] that are all padding."""
  shape = (num_rows, length)
  return TokenRows(
    tokens=np.zeros(shape, np.int32),
    mask=np.zeros(shape, bool),
    loss_mask=np.zeros(shape, bool),
    advantage=np.zeros(shape, np.float32),
    old_log_prob=np.zeros(shape, np.float32),
    position=np.zeros(shape, np.int32),
    segment=np.full(shape, -1, np.int32),
    episode=np.full(shape, -1, np.int32),
    step=np.full(shape, -1, np.int32),
  )


def step_rows(
  episodes: Sequence[Episode],
  advantages: Sequence[Sequence[float]] | np.ndarray,
  *,
  max_length: int | None = None,
) -> Collated:
  """One row per turn: the prompt as it was fed to the sampler, the response.

  Args:
    episodes: in any number of turns.
    advantages: of each episode's steps; an array [E, T] may be longer than an
      episode, a sequence of sequences must fit it.
    max_length: L. Longer rows lose the beginning of their prompt, never a
      token of the response, and keep at least one token before it. The
      longest row sets L where None.

  Returns:
    Rows in the order of episodes and turns, and how many were truncated.

  Raises:
    ValueError: there is no turn, advantages do not fit or are not finite, or
      a response leaves no room for a token before it.
  """
  rows = [
    _Row(
      index,
      np.concatenate([turn.prompt_tokens, turn.response_tokens]),
      _after(turn, -1, step),
      _after(turn, 0.0, turn.response_log_probs),
    )
    for index, episode in enumerate(episodes)
    for step, turn in enumerate(episode.turns)
  ]
  return _collate(rows, _check_advantages(episodes, advantages), max_length)


def episode_rows(
  episodes: Sequence[Episode],
  advantages: Sequence[Sequence[float]] | np.ndarray,
  *,
  max_length: int | None = None,
) -> Collated:
  """One row per episode: the conversation once, loss on the agent's tokens.

  Every token stands after the same tokens as when it was sampled, so this is
  `step_rows` without its repetitions. It takes that each turn's prompt begins
  with the conversation before it, token by token: prompts that show the last k
  turns only, or that a chat template renders anew, do not.

  Args:
    episodes: those without a turn give no row.
    advantages: as in `step_rows`.
    max_length: as in `step_rows`; what may be cut is the first prompt.

  Returns:
    Rows in the order of episodes, and how many were truncated.

  Raises:
    ValueError: as in `step_rows`, or a prompt does not extend the
      conversation; the message names episode, turn and token.
  """
  rows = [
    _conversation(index, episode)
    for index, episode in enumerate(episodes)
    if episode.turns
  ]
  return _collate(rows, _check_advantages(episodes, advantages), max_length)


def _token_ids(name: str, values: np.ndarray) -> np.ndarray:
  tokens = np.asarray(values)
  if tokens.ndim != 1 or not tokens.size:
    raise ValueError(
      f"{name} must be a non-empty list of ids, got shape {tokens.shape}"
    )
  if not np.issubdtype(tokens.dtype, np.integer):
    raise ValueError(f"{name} must be integers, got {tokens.dtype}")
  if tokens.min() < 0 or tokens.max() > np.iinfo(np.int32).max:
    raise ValueError(f"{name} holds {tokens.min()}..{tokens.max()}, no ids")
  return tokens.astype(np.int32)


def _after(turn: Turn, before, values) -> np.ndarray:
  """`before` for each token of the prompt, then the response's values."""
  response = np.broadcast_to(values, turn.response_tokens.shape)
  prompt = np.full(turn.prompt_tokens.shape, before, response.dtype)
  return np.concatenate([prompt, response])


def _conversation(index: int, episode: Episode) -> _Row:
  row = _Row(
    index, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
  )
  for step, turn in enumerate(episode.turns):
    seen = row.tokens.size
    prompt = turn.prompt_tokens
    shared = min(seen, prompt.size)
    differs = np.flatnonzero(prompt[:shared] != row.tokens[:shared])
    if differs.size or prompt.size < seen:
      where = int(differs[0]) if differs.size else shared
      raise ValueError(
        f"episode {index}, turn {step}: the prompt does not extend the "
        f"conversation before it, {seen} tokens, from token {where} on; use "
        "one row per step"
      )
    row = _Row(
      index,
      np.concatenate([prompt, turn.response_tokens]),
      np.concatenate([row.step, _after(turn, -1, step)[seen:]]),
      np.concatenate(
        [row.log_prob, _after(turn, 0.0, turn.response_log_probs)[seen:]]
      ),
    )
  return row


def _check_advantages(episodes, advantages) -> list[np.ndarray]:
  """The advantages of each episode's steps, float32 [number of turns]."""
  if len(advantages) != len(episodes):
    raise ValueError(
      f"advantages of {len(advantages)} episodes, but there are {len(episodes)}"
    )
  padded = getattr(advantages, "ndim", 0) == 2
  if padded:
    advantages = np.asarray(advantages)
  checked = []
  for index, (episode, given) in enumerate(
    zip(episodes, advantages, strict=True)
  ):
    found, count = np.asarray(given, np.float32), len(episode.turns)
    surplus = found.size - count
    if found.ndim != 1 or surplus < 0 or (surplus and not padded):
      raise ValueError(
        f"episode {index} has {count} turns, but its advantages have shape "
        f"{found.shape}"
      )
    if not np.isfinite(found[:count]).all():
      raise ValueError(f"episode {index}: advantages must be finite")
    checked.append(found[:count])
  return checked


def _truncate(row: _Row, max_length: int) -> _Row:
  excess = row.tokens.size - max_length
  if excess <= 0:
    return row
  first = int(np.argmax(row.step >= 0))
  if excess > first - 1:
    raise ValueError(
      f"episode {row.episode}, turn {row.step[first]}: {row.step.size - first} "
      "tokens from its response on, and one before them, exceed max_length="
      f"{max_length}; nothing but the prompt before them can be cut"
    )
  return _Row(
    row.episode, row.tokens[excess:], row.step[excess:], row.log_prob[excess:]
  )


def _collate(
  rows: list[_Row], advantages: list[np.ndarray], max_length: int | None
) -> Collated:
  if not rows:
    raise ValueError("the episodes have no turn")
  longest = max(row.tokens.size for row in rows)
  length = longest if max_length is None else max_length
  num_truncated = sum(row.tokens.size > length for row in rows)
  found = empty_rows(len(rows), length)
  for index, whole in enumerate(rows):
    row = _truncate(whole, length)
    here = (index, slice(0, row.tokens.size))
    produced = row.step >= 0
    found.tokens[here] = row.tokens
    found.mask[here] = True
    found.loss_mask[here] = produced
    found.advantage[here] = np.where(
      produced, advantages[row.episode][row.step], 0.0
    )
    found.old_log_prob[here] = row.log_prob
    found.position[here] = np.arange(row.tokens.size)
    found.segment[here] = 0
    found.episode[here] = row.episode
    found.step[here] = row.step
  return Collated(found, num_truncated)
