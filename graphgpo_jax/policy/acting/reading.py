"""What a policy that chooses commands reads of an episode, as arrays."""

import dataclasses
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
  """

  vocabulary_size: int = 4096
  max_tokens: int = 96
  max_commands: int = 24
  max_command_tokens: int = 8
  history: int = 2
  facts: tuple[str, ...] = ()
  show_observation: bool = True

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
  action_mask: chex.Array  # bool [A], True where there is a command


@dataclasses.dataclass(frozen=True)
class Reading:
  """An observation, and what found no room in it.

  Attributes:
    observation: TextObservation of NumPy arrays.
    commands: those that can be chosen, in the order of the arrays.
    words_cut: words of the state that were left out.
    commands_cut: commands that cannot be chosen.
  """

  observation: TextObservation
  commands: tuple[str, ...]
  words_cut: int
  commands_cut: int


def read(context: episodes.Context, spec: ReadingSpec) -> Reading:
  """Reads where an episode stands.

  The passages are the task, past commands from the last one on, the observation
  and the facts. What exceeds L is cut off the end.

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
  for kind, text in passages:
    found = words.word_ids(text, spec.vocabulary_size)
    ids += found
    kinds += [kind] * len(found)
  chosen = now.admissible_actions[: spec.max_commands]
  commands = np.zeros((spec.max_commands, spec.max_command_tokens), np.int32)
  for row, command in enumerate(chosen):
    found = words.word_ids(command, spec.vocabulary_size)
    found = found[: spec.max_command_tokens]
    commands[row, : len(found)] = found
  kept = min(len(ids), spec.max_tokens)
  return Reading(
    observation=TextObservation(
      tokens=_padded(ids, spec.max_tokens),
      kinds=_padded(kinds, spec.max_tokens),
      token_mask=np.arange(spec.max_tokens) < kept,
      commands=commands,
      action_mask=np.arange(spec.max_commands) < len(chosen),
    ),
    commands=chosen,
    words_cut=len(ids) - kept,
    commands_cut=len(now.admissible_actions) - len(chosen),
  )


def empty(spec: ReadingSpec, shape: tuple[int, ...] = ()) -> TextObservation:
  """TextObservation of NumPy arrays [*shape, ...] with nothing in it."""

  def zeros(*sizes: int, dtype: Any = np.int32) -> np.ndarray:
    return np.zeros((*shape, *sizes), dtype)

  return TextObservation(
    tokens=zeros(spec.max_tokens),
    kinds=zeros(spec.max_tokens),
    token_mask=zeros(spec.max_tokens, dtype=bool),
    commands=zeros(spec.max_commands, spec.max_command_tokens),
    action_mask=zeros(spec.max_commands, dtype=bool),
  )


def _padded(values: list[int], size: int) -> np.ndarray:
  array = np.zeros(size, np.int32)
  array[: len(values)] = values[:size]
  return array
