"""Packed rows hold what the rows held, in less space."""

import dataclasses

import numpy as np
import pytest

from graphgpo_jax.rollouts import packing, turns
from tests.rollouts import made_episodes

BUDGET = 1024


def rows_of_lengths(lengths, seed=0):
  """One row per length, of which the latter half carries loss."""
  random = np.random.default_rng(seed)
  episodes = []
  for length in lengths:
    tokens = random.integers(0, 1000, length)
    response = tokens[length // 2 :]
    log_probs = -random.random(response.size)
    turn = turns.Turn(tokens[: length // 2], response, log_probs)
    episodes.append(turns.Episode([turn]))
  advantages = random.normal(size=(len(lengths), 1))
  return turns.step_rows(episodes, advantages).rows


def mixed_lengths(seed, count=200):
  random = np.random.default_rng(seed)
  return np.clip(random.lognormal(4.6, 0.7, count), 20, 400).astype(int)


def segments(rows):
  """Every segment's arrays, as a sorted list of bytes; ids of rows left out."""
  found = []
  for row in range(len(rows.tokens)):
    for segment in range(rows.segment[row].max() + 1):
      here = rows.segment[row] == segment
      # Contiguous, and where there are tokens.
      assert np.ptp(np.flatnonzero(here)) == here.sum() - 1
      assert rows.mask[row][here].all()
      np.testing.assert_array_equal(
        rows.position[row][here], np.arange(here.sum())
      )
      found.append(
        b"|".join(
          value[row][here].tobytes()
          for name, value in sorted(rows.items())
          if name != "segment"
        )
      )
  return sorted(found)


def reorder(rows, order):
  return turns.TokenRows(**{name: v[order] for name, v in rows.items()})


@pytest.mark.parametrize("seed", range(5))
def test_little_of_mixed_lengths_is_padding(seed):
  rows = rows_of_lengths(mixed_lengths(seed))
  assert packing.padding_share(rows) > 0.5
  packed = packing.pack_rows(rows, budget=BUDGET)
  assert packed.tokens.shape[1] == BUDGET
  assert packing.padding_share(packed) < 0.15
  # No packing needs fewer rows than the tokens fill, nor first-fit
  # decreasing 11/9 times as many and one.
  fewest = -(-rows.mask.sum() // BUDGET)
  assert fewest <= len(packed.tokens) <= 11 / 9 * fewest + 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_split_or_made_up(seed):
  rows = rows_of_lengths(mixed_lengths(seed, 60))
  packed = packing.pack_rows(rows, budget=BUDGET)
  assert segments(packed) == segments(rows)
  padding = turns.empty_rows(*packed.mask.shape)
  for name, value in packed.items():
    assert value.dtype == rows[name].dtype
    np.testing.assert_array_equal(
      value[~packed.mask], padding[name][~packed.mask]
    )


def test_the_order_of_the_rows_does_not_matter():
  # Few distinct lengths, so that ties are many.
  rows = rows_of_lengths(mixed_lengths(1, 80) // 40 * 40 + 20)
  packed = packing.pack_rows(rows, budget=BUDGET)
  order = np.random.default_rng(0).permutation(80)
  again = packing.pack_rows(reorder(rows, order), budget=BUDGET)
  for name, value in packed.items():
    np.testing.assert_array_equal(value, again[name])


def test_by_hand():
  packed = packing.pack_rows(rows_of_lengths([3, 6, 4, 5]), budget=10)
  np.testing.assert_array_equal(
    packed.segment, [[0] * 6 + [1] * 4, [0] * 5 + [1] * 3 + [-1] * 2]
  )
  np.testing.assert_array_equal(
    packed.episode, [[1] * 6 + [2] * 4, [3] * 5 + [0] * 3 + [-1] * 2]
  )
  np.testing.assert_array_equal(
    packed.position[1], [0, 1, 2, 3, 4, 0, 1, 2, 0, 0]
  )


@pytest.mark.parametrize("form", [turns.step_rows, turns.episode_rows])
def test_what_the_loss_sees_of_a_token_is_the_same(form):
  random = np.random.default_rng(4)
  episodes, advantages = made_episodes.random_episodes(random, [4, 1, 3, 2])
  rows = form(episodes, advantages).rows
  packed = packing.pack_rows(rows, budget=2 * rows.tokens.shape[1])
  assert len(packed.tokens) < len(rows.tokens)
  assert made_episodes.by_token(packed) == made_episodes.by_token(rows)
  assert not packed.loss_mask[packed.position == 0].any()
  assert not packed.loss_mask[~packed.mask].any()


def test_packed_rows_stay_together():
  first = packing.pack_rows(rows_of_lengths([3, 6, 4, 5]), budget=10)
  again = packing.pack_rows(first, budget=20, rows_multiple_of=1)
  np.testing.assert_array_equal(
    again.segment, [[0] * 6 + [1] * 4 + [2] * 5 + [3] * 3 + [-1] * 2]
  )
  assert segments(again) == segments(first)
  widened = packing.pack_rows(first, budget=12)
  assert len(widened.tokens) == 2


def test_rows_of_padding_are_added_and_left_out():
  rows = rows_of_lengths([3, 6, 4, 5])
  packed = packing.pack_rows(rows, budget=10, rows_multiple_of=3)
  assert packed.mask.any(1).tolist() == [True, True, False]
  assert (packed.segment[2] == -1).all()
  assert len(packing.pack_rows(packed, budget=10).tokens) == 2
  assert len(packing.pack_rows(rows, budget=10, rows_multiple_of=2).mask) == 2


def test_a_row_that_fits_exactly():
  packed = packing.pack_rows(rows_of_lengths([7, 7]), budget=7)
  assert packed.mask.all() and packed.mask.shape == (2, 7)


def test_bad_rows_are_refused():
  rows = rows_of_lengths([3, 6, 4])
  with pytest.raises(
    ValueError, match=r"row 1 \(episode 1, step 0\) has 6 tokens.* of 5"
  ):
    packing.pack_rows(rows, budget=5)
  with pytest.raises(ValueError, match="budget must be at least 1"):
    packing.pack_rows(rows, budget=0)
  with pytest.raises(ValueError, match="rows_multiple_of must be"):
    packing.pack_rows(rows, budget=10, rows_multiple_of=0)
  left = dataclasses.replace(rows, mask=rows.mask[:, ::-1])
  with pytest.raises(ValueError, match="row 0 is not padded on the right"):
    packing.pack_rows(left, budget=10)
  with pytest.raises(ValueError, match="no token"):
    packing.pack_rows(turns.empty_rows(2, 3), budget=10)
