"""Reads a command out of what a language model said."""

import collections
import dataclasses
import re
from collections.abc import Sequence

# No tag inside: of tags in tags the innermost pair is well formed.
_ACTION = re.compile(
  r"<action>((?:(?!</?action>).)*)</action>", re.DOTALL | re.IGNORECASE
)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
# Engines take a line; a whole response may be what is left to send.
_LONGEST_TEXT = 500
# Some engines end at an empty command.
_EMPTY = "nothing"


@dataclasses.dataclass(frozen=True)
class TagSpec:
  r"""What counts as a command.

  Attributes:
    require_thought: a response must have <think>...</think> before its command,
      as the recipe demands.
    free_commands: regular expressions of commands that are accepted though the
      world does not list them, such as "search\[.+\]" for WebShop, which
      lists one of all searches.
    invalid_command: what the world is told in place of what is no command; ""
      sends the text as it is.
  """

  require_thought: bool = False
  free_commands: tuple[str, ...] = ()
  invalid_command: str = ""

  def __post_init__(self):
    if isinstance(self.free_commands, str):
      raise ValueError(
        "free_commands must be several regular expressions, got the text "
        f"{self.free_commands!r}"
      )
    object.__setattr__(self, "free_commands", tuple(self.free_commands))
    for pattern in self.free_commands:
      try:
        re.compile(pattern)
      except re.error as error:
        raise ValueError(
          f"free_commands: {pattern!r} is no regular expression: {error}"
        ) from error


@dataclasses.dataclass(frozen=True)
class Parsed:
  """A response as the world is told it.

  Attributes:
    command: what is sent.
    valid: it is a command that the world can follow, in the asked form.
    tagged: the response had a well-formed <action>...</action>.
  """

  command: str
  valid: bool
  tagged: bool


def parse(response: str, admissible: Sequence[str], spec: TagSpec) -> Parsed:
  """Reads the command of a response.

  It is what stands in the last well-formed <action>...</action>. Case and
  whitespace do not matter: the world is told the command as it lists it. Where
  the world lists none, any text counts, and the world itself says whether it
  understood.

  Args:
    response: what the model said.
    admissible: the world's commands; empty where it cannot list them.
    spec: what counts as a command.

  Returns:
    Parsed.
  """
  found = collections.deque(_ACTION.finditer(response), maxlen=1)
  last = found[0] if found else None
  text = _line(response if last is None else last[1])
  valid = last is not None and bool(text)
  if valid and admissible:
    listed = {_normal(command): command for command in reversed(admissible)}
    if text in admissible:
      pass
    elif _normal(text) in listed:
      text = listed[_normal(text)]
    else:
      valid = any(
        re.fullmatch(pattern, text, re.IGNORECASE)
        for pattern in spec.free_commands
      )
  if valid and spec.require_thought:
    assert last is not None
    valid = _THOUGHT.search(response, 0, last.start()) is not None
  if not valid:
    text = spec.invalid_command or text[-_LONGEST_TEXT:] or _EMPTY
  return Parsed(text, valid, last is not None)


def _line(text: str) -> str:
  return " ".join(text.split())


def _normal(text: str) -> str:
  return _line(text).casefold()
