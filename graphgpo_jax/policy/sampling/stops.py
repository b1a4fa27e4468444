"""What ends a sample: token ids on the device, strings on the host."""

from collections.abc import Callable, Sequence

import chex
import jax.numpy as jnp
import numpy as np

NO_TOKEN = -1
# In rows that only fill the table up: equal to no token and to no absence.
_NEVER = -2
# Rows and columns come in multiples of this, so that few shapes compile.
_MULTIPLE = 8


def stop_table(sequences: Sequence[Sequence[int]]) -> np.ndarray:
  """Stop sequences of token ids as one array.

  Args:
    sequences: R sequences, none empty; an end-of-text id is one of length 1.

  Returns:
    int32 [R', W], both multiples of 8 with room for all; a sequence stands at
    the right of its row, after `NO_TOKEN`. Rows left over never match.

  Raises:
    ValueError: a sequence is empty or has a negative id.
  """
  longest = max((len(sequence) for sequence in sequences), default=0)
  rows, width = (
    max(-(-count // _MULTIPLE), 1) * _MULTIPLE
    for count in (len(sequences), longest)
  )
  table = np.full((rows, width), _NEVER, np.int32)
  for row, sequence in zip(table, sequences, strict=False):
    if not len(sequence) or min(sequence) < 0:
      raise ValueError(
        f"stop sequence {list(sequence)} must be one or more token ids"
      )
    row[:] = NO_TOKEN
    row[width - len(sequence) :] = sequence
  return table


def ends_with_stop(recent: chex.Array, table: chex.Array) -> chex.Array:
  """Whether the last tokens of each row are a stop sequence.

  Args:
    recent: int32 [N, W], the last W tokens drawn, `NO_TOKEN` before the first.
    table: int32 [R, W], from `stop_table`.

  Returns:
    bool [N].
  """
  same = (recent[:, None, :] == table) | (table == NO_TOKEN)
  return jnp.any(jnp.all(same, axis=-1), axis=-1)


def find_stop_string(
  decode: Callable[[Sequence[int]], str],
  tokens: Sequence[int],
  strings: Sequence[str],
  *,
  checked: int = 0,
) -> int | None:
  """Number of tokens up to the one that completes a stop string.

  The same text may be cut into tokens in many ways, so strings are looked for
  in decoded text. The token that completes one stays whole, also where its
  text goes on after the string.

  Args:
    decode: token ids to text.
    tokens: all tokens of the sample.
    strings: the stop strings.
    checked: tokens at the start known not to complete one.

  Returns:
    How many tokens to keep, None where no stop string occurs.
  """

  def complete(count: int) -> bool:
    text = decode(tokens[:count])
    return any(string in text for string in strings)

  # A decoder may show an unfinished character at the end as another one, but
  # what is complete stays: the whole text has every string that a part has.
  if not strings or not complete(len(tokens)):
    return None
  counts = range(checked + 1, len(tokens))
  return next((count for count in counts if complete(count)), len(tokens))
