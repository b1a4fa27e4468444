"""Episodes and their credit as the packed rows of optimiser steps."""

from collections.abc import Sequence

import jax
import numpy as np

from graphgpo_jax.rollouts import packing, turns
from graphgpo_jax.rollouts.host import episodes as episodes_lib


def to_step_rows(
  episodes: Sequence[episodes_lib.Episode], advantage: np.ndarray
) -> turns.TokenRows:
  """A row for each step: the prompt as the sampler was fed it, the response.

  Ids and log-probabilities are those that `policy.acting.generate` kept. There
  is no row per episode, since each prompt shows the last few steps anew and
  does not go on from the one before.

  Args:
    episodes: played by a `Generator`; failed ones are left out.
    advantage: float32 [B, M, T], of each group's rollouts' steps.

  Returns:
    TokenRows in the order of episodes and steps; `episode` is the index of the
    plan.

  Raises:
    ValueError: there is no step.
  """
  sound = [one for one in episodes if one.turns and not one.failed]
  rows = turns.step_rows(
    [
      turns.Episode(tuple(turn.action.extra.turn for turn in one.turns))
      for one in sound
    ],
    [
      advantage[one.plan.group, one.plan.rollout, : len(one.turns)].tolist()
      for one in sound
    ],
  ).rows
  index = np.asarray([one.plan.index for one in sound], np.int32)
  return rows.replace(  # type: ignore[attr-defined]
    episode=np.where(rows.mask, index[rows.episode], -1).astype(np.int32)
  )


def make_minibatches(
  rows: turns.TokenRows,
  *,
  minibatch_rows: int,
  microbatch_rows: int,
  row_tokens: int,
  random: np.random.Generator,
) -> list[turns.TokenRows]:
  """Shuffles rows into optimiser steps and packs each one's.

  Args:
    rows: of steps.
    minibatch_rows: rows of an optimiser step, about: all get as many but for
      one. 0 takes all together.
    microbatch_rows: packed rows are a multiple of it.
    row_tokens: of a packed row.
    random: shuffles.

  Returns:
    TokenRows [n * microbatch_rows, row_tokens] each, where n takes few values,
    so that few programs are compiled: at most 8 between a number and its
    double.

  Raises:
    ValueError: a row is longer than `row_tokens`.
  """
  number = rows.mask.shape[0]
  parts = -(-number // minibatch_rows) if minibatch_rows else 1
  minibatches = []
  for chosen in np.array_split(random.permutation(number), parts):
    packed = packing.pack_rows(
      jax.tree.map(lambda leaf, at=chosen: leaf[at], rows),
      budget=row_tokens,
      rows_multiple_of=microbatch_rows,
    )
    wanted = round_up(packed.mask.shape[0] // microbatch_rows)
    minibatches.append(_pad(packed, wanted * microbatch_rows))
  return minibatches


def round_up(number: int) -> int:
  """The least number of 4 binary digits and zeros that is not below."""
  unit = 1 << max(number.bit_length() - 4, 0)
  return -(-number // unit) * unit


def _pad(rows: turns.TokenRows, number: int) -> turns.TokenRows:
  """Rows of padding after these, `number` in all."""
  surplus = number - rows.mask.shape[0]
  empty = turns.empty_rows(surplus, rows.mask.shape[1])
  return jax.tree.map(lambda *parts: np.concatenate(parts), rows, empty)
