"""Sums over segments against float64 and whole numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import normalize, sums

SEGMENTS = 4
SIZES = [1, 7, sums.PLAIN_LIMIT, sums.PLAIN_LIMIT + 1, 200_000]


@functools.cache
def compiled():
  return jax.jit(
    functools.partial(sums.segment_sum_of_units, num_segments=SEGMENTS)
  )


def drawn(size, seed=0):
  rng = np.random.default_rng(seed)
  units = rng.choice([0.0, 1.0, 0.1, 1e-6], size)
  units *= rng.choice([1.0, rng.random()], size)
  # Outside on both sides, and one segment without an entry.
  segment = rng.choice(
    [-1, 0, 1, 3, SEGMENTS], size, p=[0.1, 0.6, 0.1, 0.1, 0.1]
  )
  return units.astype(np.float32), segment.astype(np.int32)


@pytest.mark.parametrize("size", SIZES)
def test_equals_float64(size):
  units, segment = drawn(size)
  expected = [
    math.fsum(units[segment == place].tolist()) for place in range(SEGMENTS)
  ]
  # jax.ops.segment_sum wraps negative numbers round; they stand for none.
  given = compiled()(units, np.where(segment < 0, SEGMENTS, segment))
  np.testing.assert_allclose(given, expected, rtol=3e-6, atol=1e-7)
  assert given[2] == 0


@pytest.mark.parametrize("seed", range(3))
def test_order_changes_no_bit_of_large_sums(seed):
  units, segment = drawn(50_000, seed)
  segment = np.abs(segment)
  order = np.random.default_rng(seed).permutation(len(units))
  np.testing.assert_array_equal(
    compiled()(units, segment), compiled()(units[order], segment[order])
  )


def test_ones_are_counted():
  # One by one in float32, ones stop adding up at 2**24.
  size = 2**24 + 5
  ones = jnp.ones((size,), jnp.float32)
  given = compiled()(ones, jnp.zeros((size,), jnp.int32))
  np.testing.assert_allclose(given, [size, 0, 0, 0], rtol=1e-7)


def test_small_values_are_not_lost_beside_large_ones():
  size = 100_000
  units = np.full(size, 1e-7, np.float32)
  units[::1000] = 1.0
  expected = math.fsum(units.tolist())
  given = compiled()(units, np.zeros(size, np.int32))
  np.testing.assert_allclose(given[0], expected, rtol=1e-6)


def normalized(values, **options):
  size = len(values)
  return normalize.mean_std(
    jnp.asarray(values, jnp.float32),
    jnp.zeros((size,), jnp.int32),
    jnp.ones((size,), bool),
    jnp.ones((size,), jnp.float32),
    num_segments=1,
    **options,
  )


@pytest.mark.parametrize("size", [100, 20_000, 2_000_000])
@pytest.mark.parametrize(
  "low, high", [(0.0, 10.0), (-0.1, 9.9), (9.99, 10.0), (1e-5, 2e-5)]
)
def test_large_segments_are_normalised_as_in_float64(size, low, high):
  rng = np.random.default_rng(size)
  values = np.where(rng.random(size) < 0.02, high, low).astype(np.float32)
  values[0], values[1] = low, high
  exact = values.astype(np.float64)
  expected = (exact - exact.mean()) / (exact.std(ddof=1) + 1e-6)
  np.testing.assert_allclose(normalized(values), expected, rtol=1e-5)


def test_means_of_values_that_differ_little_keep_their_digits():
  values = np.float32(-0.1) + np.float32(2e-9) * np.arange(30)
  values = values.astype(np.float32)
  assert 1 < len(np.unique(values)) < 30
  exact = values.astype(np.float64)
  expected = (exact - exact.mean()) / (exact.std(ddof=1) + 1e-9)
  given = normalized(values, epsilon=1e-9)
  np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def test_too_many_entries_are_refused():
  shape = jax.ShapeDtypeStruct((2**29 + 1,), jnp.float32)
  with pytest.raises(ValueError, match=r"at most 2\*\*29 entries"):
    jax.eval_shape(
      compiled(), shape, jax.ShapeDtypeStruct(shape.shape, jnp.int32)
    )
