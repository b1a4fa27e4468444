"""What a policy that chooses commands reads of an episode, as arrays."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import numpy as np

from graphgpo_jax.policy.acting import words
from graphgpo_jax.rollouts.host import episodes

# Kinds of passages; past commands follow, the last one first.
TASK, OBSERVATION, FACT, COMMAND = range(4)


@dataclasses.dataclass(frozen=True)
class ReadingSpec:
  """How much is read.

  Attributes:
    vocabulary_size: V, ids of words.
    max_tokens: L, words of the state.
    max_commands: A, commands to choose from.
    max_command_tokens: C, words of a command.
    history: past commands that are shown.
    facts: the step's facts that are shown, by name.
    show_observation: whether the observation is shown; not where the facts
      hold the same text.
    show_tried: whether it is shown how often each command was taken before.
    keep_last_words: of observation and facts that are too long, whether the
      last words are kept, and not the first.
  """

  vocabulary_size: int = 4096
  max_tokens: int = 96
  max_commands: int = 24
  max_command_tokens: int = 8
  history: int = 2
  facts: tuple[str, ...] = ()
  show_observation: bool = True
  show_tried: bool = True
  keep_last_words: bool = False

  def __post_init__(self):
    object.__setattr__(self, "facts", tuple(self.facts))
    for name, least in (
      ("vocabulary_size", 2),
      ("max_tokens", 1),
      ("max_commands", 1),
      ("max_command_tokens", 1),
      ("history", 0),
    ):
      if getattr(self, name) < least:
        raise ValueError(
          f"{name} must be at least {least}, got {getattr(self, name)}"
        )

  @property
  def num_kinds(self) -> int:
    """Kinds of passages."""
    return COMMAND + 1 + self.history


@chex.dataclass(frozen=True)
class TextObservation:
  """A state and the commands that are admissible in it."""

  tokens: chex.Array  # int32 [L], ids of words, 0 in padding
  kinds: chex.Array  # int32 [L], kind of the passage each word stands in
  token_mask: chex.Array  # bool [L], True where there is a word
  commands: chex.Array  # int32 [A, C], ids of words, 0 in padding
  tried: chex.Array  # int32 [A, 2], times taken: at this observation, in all
  action_mask: chex.Array  # bool [A], True where there is a command


@dataclasses.dataclass(frozen=True)
class Reading:
  """An observation, and what found no room in it.

  Attributes:
    observation: TextObservation of NumPy arrays.
    commands: those that can be chosen, in the order of the arrays.
    text: for people: the passages before they were cut, then the commands, one
      to a line.
    words_cut: words of the state that were left out.
    commands_cut: commands that cannot be chosen.
  """

  observation: TextObservation
  commands: tuple[str, ...]
  text: str
  words_cut: int
  commands_cut: int


def read(context: episodes.Context, spec: ReadingSpec) -> Reading:
  """Reads where an episode stands.

  The passages are the task, past commands from the last one on, the observation
  and the facts. What exceeds L is cut off the end, or with `keep_last_words`
  off the start of observation and facts.

  Args:
    context: the episode so far.
    spec: how much to read.

  Returns:
    Reading.

  Raises:
    ValueError: the world lists no admissible command, or a fact is missing.
  """
  now = context.now
  if not now.admissible_actions:
    raise ValueError(
      f"task {context.plan.task_id!r}: no admissible command is listed, so "
      "there is nothing to choose from"
    )
  recent = context.past[::-1][: spec.history]
  passages = [(TASK, now.task)]
  passages += [
    (COMMAND + 1 + age, turn.action.command) for age, turn in enumerate(recent)
  ]
  before = len(passages)
  if spec.show_observation:
    passages.append((OBSERVATION, now.observation))
  for name in spec.facts:
    if name not in now.facts:
      raise ValueError(
        f"the world gives no fact {name!r}; it gives "
        f"{', '.join(sorted(now.facts)) or 'none'}"
      )
    passages.append((FACT, now.facts[name]))
  ids: list[int] = []
  kinds: list[int] = []
  first = 0
  for place, (kind, text) in enumerate(passages):
    found = words.word_ids(text, spec.vocabulary_size)
    ids += found
    kinds += [kind] * len(found)
    if place < before:
      first = len(ids)
  excess = max(0, len(ids) - spec.max_tokens)
  if spec.keep_last_words:
    last = min(first + excess, len(ids))
    del ids[first:last], kinds[first:last]
  chosen = now.admissible_actions[: spec.max_commands]
  commands = np.zeros((spec.max_commands, spec.max_command_tokens), np.int32)
  for row, command in enumerate(chosen):
    found = words.word_ids(command, spec.vocabulary_size)
    found = found[: spec.max_command_tokens]
    commands[row, : len(found)] = found
  tried = np.zeros((spec.max_commands, 2), np.int32)
  if spec.show_tried:
    tried[: len(chosen)] = _times_taken(context, chosen)
  kept = min(len(ids), spec.max_tokens)
  return Reading(
    observation=TextObservation(
      tokens=_padded(ids, spec.max_tokens),
      kinds=_padded(kinds, spec.max_tokens),
      token_mask=np.arange(spec.max_tokens) < kept,
      commands=commands,
      tried=tried,
      action_mask=np.arange(spec.max_commands) < len(chosen),
    ),
    commands=chosen,
    text="\n".join([*(text for _, text in passages), *chosen]),
    words_cut=excess,
    commands_cut=len(now.admissible_actions) - len(chosen),
  )


def empty(spec: ReadingSpec, shape: tuple[int, ...] = ()) -> TextObservation:
  """TextObservation of NumPy arrays `[*shape, ...]` with nothing in it."""

  def zeros(*sizes: int, dtype: Any = np.int32) -> np.ndarray:
    return np.zeros((*shape, *sizes), dtype)

  return TextObservation(
    tokens=zeros(spec.max_tokens),
    kinds=zeros(spec.max_tokens),
    token_mask=zeros(spec.max_tokens, dtype=bool),
    commands=zeros(spec.max_commands, spec.max_command_tokens),
    tried=zeros(spec.max_commands, 2),
    action_mask=zeros(spec.max_commands, dtype=bool),
  )


def _times_taken(
  context: episodes.Context, commands: Sequence[str]
) -> list[tuple[int, int]]:
  """How often each command was taken at this very observation, and in all."""
  here: collections.Counter[str] = collections.Counter()
  ever: collections.Counter[str] = collections.Counter()
  for turn in context.past:
    ever[turn.action.command] += 1
    if turn.before.observation == context.now.observation:
      here[turn.action.command] += 1
  return [(here[command], ever[command]) for command in commands]


def _padded(values: list[int], size: int) -> np.ndarray:
  array = np.zeros(size, np.int32)
  array[: len(values)] = values[:size]
  return array
