"""A conversation's turns: where their tokens lie, what they answered.

A framework hands over a rollout as chat messages and as one row of tokens with
a mask. A turn is a message of the assistant and, in the mask, a run of ones.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

Message = Mapping[str, Any]

NO_TOKENS = (0, 0)


@dataclasses.dataclass(frozen=True)
class Conversation:
  """One rollout as a framework hands it over."""

  messages: Sequence[Message]  # with "role" and "content", in order
  mask: np.ndarray  # [tokens], 1 on those that the assistant sampled
  reward: float  # of the whole rollout
  group: Hashable = 0  # rollouts of a group are compared
  broken_off: bool = False  # the last message of the assistant may have no
  #   tokens, as when the environment did not answer it
  name: str = "a rollout"  # for messages of errors


@dataclasses.dataclass(frozen=True)
class Turn:
  """What the assistant said once."""

  before: Message  # what it answered
  said: Message
  after: Message | None  # what came of it; None where nothing was said
  span: tuple[int, int] = NO_TOKENS  # its tokens: first, and one past the last


def turn_spans(mask: np.ndarray) -> np.ndarray:
  """Where the runs of ones of a mask begin and end.

  Args:
    mask: [tokens], zeros and ones (or booleans).

  Returns:
    int64 [runs, 2]: the first token of each, and one past its last.

  Raises:
    ValueError: the mask has another shape or other values.
  """
  mask = np.asarray(mask)
  if mask.ndim != 1 or not np.isin(mask, (0, 1)).all():
    raise ValueError(
      "a mask must be a list of zeros and ones, one for each token, got shape "
      f"{mask.shape}"
    )
  edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
  return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


def spoken_turns(messages: Sequence[Message]) -> list[Turn]:
  """The assistant's messages, each with what stands before and after it.

  Several messages between two turns, as of tools that are called at once,
  become one: the last of them with all their contents, a line each, in their
  order. System messages are left out unless nothing else was said.

  Args:
    messages: the conversation.

  Returns:
    Turns without spans.

  Raises:
    ValueError: nothing stands before the first turn.
  """
  heard: list[Message] = []
  before: Message | None = None
  turns: list[Turn] = []
  system = [one for one in messages if one["role"] == "system"]
  for message in messages:
    if message["role"] == "system":
      continue
    if message["role"] != "assistant":
      heard.append(message)
      continue
    # An assistant that speaks twice still stands where it stood.
    before = _joined(heard) or before or _joined(system)
    if before is None:
      raise ValueError(
        "nothing stands before the assistant's first message: expected the "
        "task, which tells the first state"
      )
    if turns:
      turns[-1] = dataclasses.replace(turns[-1], after=before)
    turns.append(Turn(before, _plain(message), None))
    heard = []
  if turns and heard:
    turns[-1] = dataclasses.replace(turns[-1], after=_joined(heard))
  return turns


def find_turns(conversation: Conversation) -> list[Turn] | None:
  """The turns of a rollout with the tokens of each.

  A turn may have no tokens: a sampler that keeps no stop token gives none for
  an answer that stops at once. Its message is empty, then, and it is a step
  all the same. Of a rollout that was broken off, the last message may lack
  its tokens; it is no step, as nobody knows what came of it.

  Args:
    conversation: the rollout.

  Returns:
    Turns; None if the rollout was masked out as a whole.

  Raises:
    ValueError: the mask's runs are not the messages' turns.
  """
  try:
    spans = turn_spans(conversation.mask).tolist()
    turns = spoken_turns(conversation.messages)
  except ValueError as error:
    raise ValueError(f"{conversation.name}: {error}") from None
  says = any(turn.said["content"] != "" for turn in turns)
  if says and not spans and len(conversation.mask):
    return None
  if conversation.broken_off and len(turns) == len(spans) + 1:
    turns = turns[:-1]
  with_tokens = turns
  if len(turns) != len(spans):
    with_tokens = [turn for turn in turns if turn.said["content"] != ""]
  if len(with_tokens) != len(spans):
    raise ValueError(
      f"{conversation.name}: its mask has {len(spans)} turns (runs of ones), "
      f"but its messages have {len(turns)} of the assistant"
      + (
        f", {len(turns) - len(with_tokens)} of them empty"
        if len(with_tokens) != len(turns)
        else ""
      )
      + ": expected one run for each message that is not empty. Two turns with "
      "no token of the environment between them look like one"
    )
  left = iter(spans)
  is_spoken = {id(turn) for turn in with_tokens}
  return [
    dataclasses.replace(turn, span=tuple(next(left)))
    if id(turn) in is_spoken
    else turn
    for turn in turns
  ]


def _plain(message: Message) -> Message:
  """The message with its content as a text; data sets give arrays of one."""
  content = message.get("content")
  if isinstance(content, np.ndarray) and content.size == 1:
    content = content.item()
  return {**message, "content": "" if content is None else content}


def _joined(messages: Sequence[Message]) -> Message | None:
  if not messages:
    return None
  plain = [_plain(message) for message in messages]
  if len(plain) == 1:
    return plain[0]
  content = "\n".join(str(message["content"]) for message in plain)
  return {**plain[-1], "content": content}
