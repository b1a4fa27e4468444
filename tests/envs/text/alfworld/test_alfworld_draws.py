import collections

import pytest

from graphgpo_jax.envs.text.alfworld import draws


def test_draws_are_the_same_everywhere():
  stream = draws.Draws("a task")
  assert [stream.below(100) for _ in range(6)] == [65, 99, 53, 55, 54, 46]


def test_names_give_different_streams():
  streams = {
    tuple(draws.Draws(name).shuffled(range(20))) for name in map(str, range(50))
  }
  assert len(streams) == 50


def test_between_reaches_both_ends_and_nothing_else():
  stream = draws.Draws("ends")
  counts = collections.Counter(stream.between(3, 5) for _ in range(300))
  assert set(counts) == {3, 4, 5}
  assert min(counts.values()) > 60


def test_shuffled_keeps_its_items():
  items = list(range(30))
  shuffled = draws.Draws("order").shuffled(items)
  assert sorted(shuffled) == items != shuffled


def test_bound_must_be_positive():
  with pytest.raises(ValueError, match="positive, got 0"):
    draws.Draws("none").below(0)
