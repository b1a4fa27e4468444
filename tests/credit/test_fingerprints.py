import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import fingerprints
from tests.credit import transforms

WORD = 2**32
fingerprint = jax.jit(fingerprints.fingerprint)


def avalanche(word):
  word = ((word ^ (word >> 16)) * 0x7FEB352D) % WORD
  word = ((word ^ (word >> 15)) * 0x846CA68B) % WORD
  return word ^ (word >> 16)


def oracle(sequence):
  """The docstring's formula in Python's integers."""
  lanes = []
  for value_by, position_by, length_by in (
    (0x9E3779B1, 0xC2B2AE35, 0x165667B1),
    (0x85EBCA6B, 0x27D4EB2F, 0xD3A2646D),
  ):
    total = sum(
      avalanche(
        (value_by * int(value) + avalanche(position_by * k % WORD)) % WORD
      )
      for k, value in enumerate(sequence, 1)
    )
    lanes.append(avalanche((total + length_by * len(sequence)) % WORD))
  return lanes


def as_one(lanes):
  """uint32 [..., 2] to uint64 [...]."""
  lanes = np.asarray(lanes).astype(np.uint64)
  return lanes[..., 0] << np.uint64(32) | lanes[..., 1]


def distinct(numbers):
  """How many distinct numbers; by sorting, faster here than np.unique."""
  return 1 + np.count_nonzero(np.diff(np.sort(numbers)))


def embed(sequence, length, rng):
  """The sequence in its order, with padding of any value around and between."""
  values = rng.integers(-(2**31), 2**31, length).astype(np.int32)
  mask = np.zeros(length, bool)
  mask[np.sort(rng.permutation(length)[: len(sequence)])] = True
  values[mask] = sequence
  return values, mask


def test_equals_the_oracle():
  rng = np.random.default_rng(0)
  sequences = [
    rng.integers(-(2**31), 2**31, rng.integers(0, 10)) for _ in range(200)
  ]
  values, mask = zip(*(embed(s, 12, rng) for s in sequences), strict=True)
  expected = [oracle(sequence) for sequence in sequences]
  np.testing.assert_array_equal(
    fingerprint(np.stack(values), np.stack(mask)),
    np.array(expected, np.uint32),
  )


def test_padding_never_matters():
  rng = np.random.default_rng(1)
  for length in (0, 1, 5):
    sequence = rng.integers(0, 5, length).astype(np.int32)
    alone = fingerprint(sequence)
    left = np.zeros(12, np.int32), np.arange(12) >= 12 - length
    right = np.full(12, 7, np.int32), np.arange(12) < length
    left[0][12 - length :] = sequence
    right[0][:length] = sequence
    layouts = [left, right] + [embed(sequence, 12, rng) for _ in range(30)]
    values, mask = map(np.stack, zip(*layouts, strict=True))
    np.testing.assert_array_equal(
      fingerprint(values, mask), np.broadcast_to(alone, (len(layouts), 2))
    )


def test_what_must_matter():
  sequences = [
    [],
    [0],
    [0, 0],
    [0, 0, 0],
    [1],
    [1, 0],
    [0, 1],
    [1, 0, 0],
    [1, 2, 3],
    [3, 2, 1],
    [2, 1, 3],
    [1, 3, 2],
    [1, 2, 3, 0],
    [0, 1, 2, 3],
    [-1, 2, 3],
    [1, 2, 4],
    [1, 1, 4],
    [6],
    [3, 3],
  ]
  values = np.zeros((len(sequences), 4), np.int32)
  mask = np.zeros_like(values, bool)
  for row, sequence in enumerate(sequences):
    values[row, : len(sequence)] = sequence
    mask[row, : len(sequence)] = True
  lanes = np.asarray(fingerprint(values, mask))
  for lane in (lanes[:, 0], lanes[:, 1], as_one(lanes)):
    assert len(np.unique(lane)) == len(sequences)


STRUCTURED = {
  "consecutive integers": lambda: np.arange(1_000_000)[:, None],
  "pairs": lambda: np.stack(
    np.meshgrid(np.arange(1000), np.arange(1000)), -1
  ).reshape(-1, 2),
  "grids of three kinds of cells": lambda: (
    np.arange(3**12)[:, None] // 3 ** np.arange(12) % 3
  ),
  "grids of two kinds of cells": lambda: (
    np.arange(2**20)[:, None] >> np.arange(20) & 1
  ),
  "multiples of 2**16": lambda: np.stack(
    np.meshgrid(np.arange(1000) << 16, np.arange(1000) << 16), -1
  ).reshape(-1, 2),
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_no_collision_among_structured_inputs(name):
  values = STRUCTURED[name]().astype(np.int32)
  lanes = np.asarray(fingerprint(values))
  number = len(values)
  assert distinct(as_one(lanes)) == number
  # Each lane alone collides as 32 random bits would, and no more.
  expected = number**2 / 2 / WORD
  for lane in lanes.T:
    collisions = number - distinct(lane)
    assert collisions < expected + 5 * np.sqrt(expected)


def test_lengths_and_values_do_not_collide_together():
  values = np.repeat(np.arange(1000, dtype=np.int32)[:, None], 64, axis=1)
  lanes = fingerprint(
    np.repeat(values, 64, axis=0),
    np.tile(np.arange(64) <= np.arange(64)[:, None], (1000, 1)),
  )
  assert len(np.unique(as_one(lanes))) == 64_000


def test_one_flipped_bit_moves_half_of_each_lane():
  rng = np.random.default_rng(2)
  words = rng.integers(0, WORD, (800, 3), dtype=np.uint32)
  words[:400] %= 8  # small values, as cells and tokens are
  before = np.asarray(fingerprint(words))
  for position in range(3):
    flipped = np.repeat(words[:, None], 32, axis=1)
    flipped[:, :, position] ^= np.uint32(1) << np.arange(32, dtype=np.uint32)
    changed = np.asarray(fingerprint(flipped)) ^ before[:, None]
    # [sample, input bit, lane, output bit]
    bits = changed[..., None] >> np.arange(32, dtype=np.uint32) & 1
    share = bits.mean(axis=0)
    assert abs(share.mean() - 0.5) < 0.005
    # 800 samples: six standard errors are 0.106.
    assert np.all(np.abs(share - 0.5) < 0.12)
    # One lane says nothing about the other.
    agree = (bits[:, :, 0] == bits[:, :, 1]).mean(axis=0)
    assert np.all(np.abs(agree - 0.5) < 0.12)


def test_output_bits_are_even_over_consecutive_integers():
  lanes = np.asarray(fingerprint(np.arange(20_000, dtype=np.int32)[:, None]))
  bits = lanes[..., None] >> np.arange(32, dtype=np.uint32) & 1
  assert np.all(np.abs(bits.mean(axis=0) - 0.5) < 0.02)


def test_integer_type_does_not_matter():
  values = np.array([[0, 1, 1, 0], [1, 1, 1, 0]])
  expected = fingerprint(values.astype(np.int32))
  for kind in (bool, np.int8, np.uint8, np.int16, np.uint16, np.uint32):
    np.testing.assert_array_equal(fingerprint(values.astype(kind)), expected)
  np.testing.assert_array_equal(
    fingerprint(np.array([[-1, -128]], np.int8)),
    fingerprint(np.array([[-1, -128]], np.int32)),
  )


@pytest.mark.parametrize("kind", [np.float32, jnp.bfloat16, np.complex64])
def test_refuses_what_is_no_integer(kind):
  with pytest.raises(TypeError, match="view floats as integers"):
    fingerprints.fingerprint(jnp.zeros((2, 3), kind))
  with pytest.raises(TypeError, match="integers or booleans"):
    fingerprint(jnp.zeros((2, 3), kind))


def test_wide_integers_are_not_cut_in_silence():
  values = np.array([[5], [5 + 2**32]], np.int64)
  try:
    lanes = as_one(fingerprints.fingerprint(values))
  except (OverflowError, TypeError, ValueError):
    return
  assert lanes[0] != lanes[1], "two values share a fingerprint"


def test_refuses_a_mask_of_another_shape_or_type():
  with pytest.raises(AssertionError):
    fingerprints.fingerprint(jnp.zeros((2, 3), int), jnp.ones((2, 2), bool))
  with pytest.raises(AssertionError):
    fingerprints.fingerprint(jnp.zeros((2, 3), int), jnp.ones((2, 3), int))


def test_shapes():
  assert fingerprint(np.zeros((2, 3, 4), np.int32)).shape == (2, 3, 2)
  assert fingerprint(np.zeros((4,), np.int32)).shape == (2,)
  assert fingerprint(np.zeros((2, 0), np.int32)).dtype == jnp.uint32
  empty = fingerprint(np.zeros((1, 3), np.int32), np.zeros((1, 3), bool))
  np.testing.assert_array_equal(empty[0], np.array(oracle([]), np.uint32))


def arguments():
  rng = np.random.default_rng(3)
  return rng.integers(0, 9, (8, 5, 6)), rng.random((8, 5, 6)) < 0.7


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  run = transforms.TRANSFORMS[transform](fingerprints.fingerprint)
  transforms.assert_same(
    run(*arguments()),
    transforms.reference(fingerprints.fingerprint, *arguments()),
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    values, mask = arguments()
    transforms.assert_same(
      self.variant(fingerprints.fingerprint)(values[0], mask[0]),
      fingerprints.fingerprint(values[0], mask[0]),
    )


def test_traced_once():
  values, mask = arguments()
  transforms.assert_traced_once(fingerprints.fingerprint, (values, mask))
