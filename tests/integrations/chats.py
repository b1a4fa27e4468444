"""Conversations written down in short."""

import numpy as np

from graphgpo_jax.integrations import conversations

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def messages(*lines):
  """Messages of lines as "u:hall": the role's letter and the content."""
  return [
    {"role": ROLES[line[0]], "content": line.partition(":")[2]}
    for line in lines
  ]


def chat(lines, mask, reward=0.0, **fields):
  """A conversation of a text of lines and a text of zeros and ones."""
  return conversations.Conversation(
    messages=messages(*lines.split()),
    mask=np.array([int(one) for one in mask], np.int32),
    reward=reward,
    **fields,
  )
