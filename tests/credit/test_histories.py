"""Segments of equal keys and of equal last states, against tuples in a dict."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import histories, segments
from tests.credit import random_groups, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
LENGTH = 3


def history(steps):
  return histories.history_segments(
    steps, history_length=LENGTH, max_nodes=NUM_NODES
  )


run = jax.jit(jax.vmap(history))


def assert_partition(found, keys):
  """Entries share a segment exactly where they share a key; None has none."""
  found = np.asarray(found)
  known = np.asarray([key is not None for key in keys])
  assert (found[~known] == graph_lib.NO_NODE).all()
  assert (found[known] >= 0).all()
  pairs = {(segment, keys[at]) for at, segment in enumerate(found) if known[at]}
  assert len(pairs) == len({key for key in keys if key is not None})
  assert len(pairs) == len({segment for segment, _ in pairs})


@pytest.mark.parametrize(
  "sizes", [None, (4, 4, 4), (4, None, 4), (2**31, 2**31, 2**31), (5000,) * 3]
)
def test_prefixes_are_numbered_exactly(sizes):
  rng = np.random.default_rng(0)
  keys = rng.integers(0, 4, (3, NUM_ENTRIES), np.int32)
  mask = rng.random(NUM_ENTRIES) < 0.8
  keys[:, ~mask] = rng.choice([-1, 3, 2**31 - 1], (3, (~mask).sum()))
  if sizes == (5000,) * 3:
    # So far apart that a word overflows unless it is cut before.
    keys[:, mask] = keys[:, mask] * 1600 + 199
  found = jax.jit(functools.partial(segments.prefix_segments, sizes=sizes))(
    list(keys), mask
  )
  for number in range(3):
    prefixes = list(zip(*keys[: number + 1].tolist(), strict=True))
    if number or not sizes:
      assert found[number].max() < NUM_ENTRIES
    assert_partition(
      found[number],
      [
        one if valid else None
        for one, valid in zip(prefixes, mask, strict=True)
      ],
    )


def test_large_keys_are_told_apart():
  keys = np.asarray([0, 1, 2**31 - 1, 2**31 - 2, 2**30, 0], np.int32)
  same = np.zeros(6, np.int32)
  found = segments.prefix_segments([same, keys], np.ones(6, bool))
  assert_partition(found[1], keys.tolist())
  assert not np.asarray(found[0]).any()


def last_states(group, number):
  """Tuple of the last states of each step; None where there are fewer."""
  return [
    tuple(one["source"][t + 1 - number : t + 1].tolist())
    if t + 1 >= number
    else None
    for one in group
    for t in range(len(one["source"]))
  ]


@pytest.mark.parametrize("spread", [False, True])
def test_equal_last_states_share_a_segment(spread):
  groups = [random_groups.random_group(seed) for seed in range(100)]
  rng = np.random.default_rng(1)
  laid_out = [
    random_groups.lay_out(
      group,
      NUM_ENTRIES,
      order=rng.permutation(len(group)) if spread else None,
      rng=rng if spread else None,
    )
    for group in groups
  ]
  found = np.asarray(run(random_groups.stack([steps for steps, _ in laid_out])))
  assert found.shape == (100, LENGTH + 1, NUM_ENTRIES)
  for at, (steps, places) in enumerate(laid_out):
    place = np.concatenate(places)
    for number in range(1, LENGTH + 2):
      assert_partition(
        found[at, number - 1, place], last_states(groups[at], number)
      )
      assert (found[at, number - 1, ~steps.mask] == graph_lib.NO_NODE).all()


def test_a_state_without_a_node_ends_the_history():
  steps, _ = random_groups.lay_out(
    [random_groups.rollout([1, 9, 2, 1], [9, 2, 1, 0])], 6
  )
  found = histories.history_segments(steps, history_length=2, max_nodes=3)
  known = np.asarray(found) >= 0
  assert known.tolist() == [
    [True, False, True, True, False, False],
    [False, False, False, True, False, False],
    [False] * 6,
  ]
  assert found[0, 0] == found[0, 3] != found[0, 2]


def test_nothing_valid():
  steps, names = random_groups.corner_steps(NUM_ENTRIES)
  found = run(steps)
  assert (found[names.index("nothing valid")] == graph_lib.NO_NODE).all()


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  groups = random_groups.batch(range(8), NUM_ENTRIES)[0]
  found = transforms.TRANSFORMS[transform](history)(groups)
  transforms.assert_same(found, transforms.reference(history, groups))


def test_traced_once():
  groups = random_groups.batch(range(3), NUM_ENTRIES)[0]
  transforms.assert_traced_once(history, (groups,))
