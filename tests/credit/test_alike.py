import jax
import numpy as np
import pytest

from graphgpo_jax.credit import alike
from tests.credit import rules, transforms

NUM_ENTRIES = 40


def keys(number, seed=0):
  """Few and many distinct keys, large ones among them, and a mask."""
  rng = np.random.default_rng(seed)
  shape = (number, NUM_ENTRIES)
  bound = rng.choice([1, 2, 5, 1000, 2**31 - 1], (number, 1))
  first = rng.integers(0, bound, shape).astype(np.int32)
  second = rng.integers(0, 4, shape).astype(np.int32) * 10**8
  mask = rng.random(shape) < rng.choice([0.0, 0.7, 1.0], (number, 1))
  return first, second, mask


def first_alike(first, second, mask):
  return alike.first_alike([first, second], mask)


run = jax.jit(jax.vmap(first_alike))


def test_equal_the_oracle():
  batch = keys(200)
  found = np.asarray(run(*batch))
  for at, (first, second, mask) in enumerate(zip(*batch, strict=True)):
    seen = {}
    for entry in range(NUM_ENTRIES):
      if not mask[entry]:
        assert found[at, entry] == -1
        continue
      key = (first[entry], second[entry])
      assert found[at, entry] == seen.setdefault(key, entry)


def test_one_entry_and_none():
  one = np.zeros(1, np.int32)
  assert alike.first_alike([one], np.ones(1, bool)).tolist() == [0]
  assert alike.first_alike([one[:0]], np.ones(0, bool)).shape == (0,)


def test_masks_must_be_as_long_as_the_keys():
  with pytest.raises(AssertionError):
    alike.first_alike([np.zeros(3, np.int32)], np.ones(2, bool))


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(first_alike, *keys(8))


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, first_alike, keys(8), expected)


def test_traced_once():
  transforms.assert_traced_once(first_alike, keys(3))
