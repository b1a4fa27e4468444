"""Text that appears on a terminal as its tokens are drawn."""

from collections.abc import Callable, Sequence
from typing import TextIO

# What a decoder shows for a character whose bytes are not complete.
_UNFINISHED = "�"


class Streamer:
  """Writes a growing answer, only ever adding to what is there."""

  def __init__(self, decode: Callable[[Sequence[int]], str], output: TextIO):
    """Begins with an empty answer.

    Args:
      decode: token ids to text.
      output: where it is written.
    """
    self._decode = decode
    self._output = output
    self._tokens: list[int] = []
    self._written = ""

  def add(self, tokens: Sequence[int]) -> None:
    """Writes what new tokens add, without an unfinished character."""
    self._tokens += tokens
    self._write(self._decode(self._tokens).rstrip(_UNFINISHED))

  def finish(self, tokens: Sequence[int]) -> None:
    """Writes what is left of the whole answer, and ends the line."""
    self._write(self._decode(tokens))
    self._output.write("\n")
    self._output.flush()

  def _write(self, text: str) -> None:
    self._output.write(text[len(self._written) :])
    self._output.flush()
    self._written = max(self._written, text, key=len)
