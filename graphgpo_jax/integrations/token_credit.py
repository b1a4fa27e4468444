"""Advantages for every token of a batch of conversations, by the graph.

Each turn is a step from the state it answered to the state that came of it;
its tokens get the step's advantage, and no other token gets any.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.integrations import conversations as conversations_lib
from graphgpo_jax.tables import assign

StateKeyFn = Callable[[conversations_lib.Message], Any]
SuccessFn = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class TokenCredit:
  """Credit of B rollouts, by token and by turn, and what was met."""

  advantages: np.ndarray  # float32 [B, L], 0 on what was not sampled
  token_mask: np.ndarray  # bool [B, L], True on what was sampled
  turn_advantages: tuple[np.ndarray, ...]  # B of float32 [turns]
  success: np.ndarray  # bool [B]
  states: int  # distinct states, each group's counted by themselves
  reachable_states: int  # of these, with a way to success in their group
  without_turns: int  # rollouts in which nothing was said
  masked_out: int  # rollouts whose tokens are masked; no credit, no step
  empty_turns: int  # turns without tokens: steps, but nothing to train
  cut_turns: int  # turns of which tokens lie beyond L


def above(threshold: float = 0.0) -> SuccessFn:
  """Success is a reward above a threshold, for `token_advantages`."""
  return lambda rewards: rewards > threshold


def best(rewards: np.ndarray) -> np.ndarray:
  """Success is the group's highest reward, unless all are equal.

  Args:
    rewards: float64 [rollouts of one group].

  Returns:
    bool [rollouts].
  """
  return (rewards == rewards.max()) & (rewards.min() < rewards.max())


def token_advantages(
  conversations: Sequence[conversations_lib.Conversation],
  state_key_fn: StateKeyFn,
  *,
  length: int,
  estimator: str | estimators.Estimator = "graphgpo",
  success_fn: SuccessFn | None = None,
  **options,
) -> TokenCredit:
  """Per-token advantages of rollouts of one or several groups.

  Args:
    conversations: B rollouts; those of a group need not stand together.
    state_key_fn: takes the message that a turn answered and gives a key, equal
      for equal states, of a type that `assign_credit` takes as observation.
      The last message after a rollout is given to it, too; None there stands
      for a state of its own.
    length: L, tokens of a row; longer rollouts are cut.
    estimator: a name in `credit.ESTIMATORS`, or a function like those.
    success_fn: takes the rewards of a group, float64 [rollouts], and gives
      which of them succeeded; `above(0.0)` without it.
    **options: those of `assign_credit`.

  Returns:
    TokenCredit. A rollout's reward is its episode return, and is earned by its
    last step.

  Raises:
    ValueError: a mask does not fit its messages, a reward is not finite, a
      state has no key, success_fn's answer has another shape, or an option is
      wrong; the message names the rollout.
  """
  rewards = np.asarray([one.reward for one in conversations], np.float64)
  if not np.isfinite(rewards).all():
    bad = conversations[int(np.argmin(np.isfinite(rewards)))]
    raise ValueError(f"{bad.name}: the reward {bad.reward} is not finite")
  found = [conversations_lib.find_turns(one) for one in conversations]
  turns = [one or [] for one in found]
  success = _successes(conversations, rewards, success_fn or above())
  table = _table(conversations, turns, rewards, success, state_key_fn)
  states = reachable = 0
  by_turn = np.zeros(0, np.float32)
  if table["t"]:
    credit, summary = assign.credit_table(table, estimator, **options)
    by_turn = credit["advantage"]
    states, reachable = summary.states, summary.reachable_states
  ends = np.cumsum([len(one) for one in turns])
  turn_advantages = tuple(np.split(by_turn, ends)[: len(turns)])
  advantages = np.zeros((len(turns), length), np.float32)
  token_mask = np.zeros(advantages.shape, bool)
  for row, (spoken, values) in enumerate(
    zip(turns, turn_advantages, strict=True)
  ):
    for turn, value in zip(spoken, values, strict=True):
      advantages[row, slice(*turn.span)] = value
      token_mask[row, slice(*turn.span)] = True
  spans = [turn.span for spoken in turns for turn in spoken]
  return TokenCredit(
    advantages=advantages,
    token_mask=token_mask,
    turn_advantages=turn_advantages,
    success=success,
    states=states,
    reachable_states=reachable,
    without_turns=sum(one == [] for one in found),
    masked_out=sum(one is None for one in found),
    empty_turns=spans.count(conversations_lib.NO_TOKENS),
    cut_turns=sum(end > length for _, end in spans),
  )


def _successes(conversations, rewards, success_fn) -> np.ndarray:
  """Which rollouts succeeded, bool [B], asked group by group."""
  success = np.zeros(len(conversations), bool)
  groups: dict[Any, list[int]] = {}
  for index, one in enumerate(conversations):
    groups.setdefault(one.group, []).append(index)
  for rows in groups.values():
    answer = np.asarray(success_fn(rewards[rows]))
    if answer.shape != (len(rows),) or answer.dtype != bool:
      raise ValueError(
        f"success_fn must give {len(rows)} booleans for {len(rows)} rewards, "
        f"got {answer.dtype} of shape {answer.shape}"
      )
    success[rows] = answer
  return success


def _table(conversations, turns, rewards, success, state_key_fn):
  """The step table of all turns, rollout by rollout."""
  names = (
    *("task", "trajectory", "t", "observation", "next_observation"),
    *("success", "episode_return", "action"),
  )
  table: dict[str, list[Any]] = {name: [] for name in names}
  tasks: dict[Any, int] = {}
  for index, (one, spoken) in enumerate(zip(conversations, turns, strict=True)):
    if not spoken:
      continue
    keys = [state_key_fn(turn.before) for turn in spoken]
    for number, key in enumerate(keys):
      if key is None:
        raise ValueError(
          f"{one.name}, turn {number}: state_key_fn gave None for the message "
          f"{str(spoken[number].before['content'])[:80]!r}, which the turn "
          "answered; every such state needs a key"
        )
    after = spoken[-1].after
    final = None if after is None else state_key_fn(after)
    if final is None:
      final = ("end of rollout", index)
    count = len(spoken)
    table["task"] += [tasks.setdefault(one.group, len(tasks))] * count
    table["trajectory"] += [index] * count
    table["t"] += range(count)
    table["observation"] += keys
    table["next_observation"] += [*keys[1:], final]
    table["success"] += [bool(success[index])] * count
    table["episode_return"] += [float(rewards[index])] * count
    table["action"] += [turn.said["content"] for turn in spoken]
  return table
