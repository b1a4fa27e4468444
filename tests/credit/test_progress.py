import functools

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import distances, progress
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 9
FIELDS = (
  "failed_steps",
  "failed_progress",
  "failed_unreachable",
  "successful_steps",
  "successful_progress",
)


def everything(steps):
  graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  distance = distances.edge_distances(graph)
  counts = progress.progress_counts(steps, distance)
  return (
    progress.makes_progress(steps, distance),
    counts,
    progress.progress_shares(counts),
  )


def counts_oracle(group):
  edges = [
    edge
    for one in group
    for edge in zip(one["source"], one["target"], one["cost"], strict=True)
  ]
  best = oracle.shortest_distances(edges, sink=graph_lib.SUCCESS)
  counts = dict.fromkeys(FIELDS, 0)
  for one in group:
    kind = "successful" if one["success"][0] else "failed"
    for source, target in zip(one["source"], one["target"], strict=True):
      closer = target in best and best[target] < best[source]
      counts[f"{kind}_steps"] += 1
      counts[f"{kind}_progress"] += closer
      if kind == "failed":
        counts["failed_unreachable"] += source not in best
  return counts


def groups(number=192):
  made = [
    # Costs that float64 adds as float32 does.
    random_groups.random_group(
      seed, kind=("unit", "integer", "dyadic")[seed % 3]
    )
    for seed in range(number)
  ]
  made += [group for group in random_groups.corner_groups().values() if group]
  return made


def laid_out(made):
  rng = np.random.default_rng(0)
  return random_groups.stack(
    [random_groups.lay_out(group, NUM_ENTRIES, rng=rng)[0] for group in made]
  )


def test_equal_the_oracle():
  made = groups()
  _, counts, shares = jax.tree.map(
    np.asarray, jax.jit(jax.vmap(everything))(laid_out(made))
  )
  for at, group in enumerate(made):
    expected = counts_oracle(group)
    assert {name: counts[name][at] for name in FIELDS} == expected, at
    hidden = expected["failed_progress"] / max(expected["failed_steps"], 1)
    idle = 1 - expected["successful_progress"] / max(
      expected["successful_steps"], 1
    )
    idle *= expected["successful_steps"] > 0
    np.testing.assert_allclose(shares["progress/failed"][at], hidden, rtol=1e-6)
    np.testing.assert_allclose(
      shares["progress/idle_in_successful"][at], idle, rtol=1e-6, atol=1e-7
    )


def test_small_case():
  """1 -> 2 -> SUCCESS with a loop, 1 -> 2 -> 3 in vain, 4 unreachable."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 1, 2], [1, 2, 0]),
      random_groups.rollout([1, 2, 3], [2, 3, 3]),
      random_groups.rollout([4], [9]),  # No room for node 9.
    ],
    8,
  )
  distance = np.array([0, 2, 1, np.inf, np.inf], np.float32)
  closer = progress.makes_progress(steps, distance)
  np.testing.assert_array_equal(closer, [0, 1, 1, 1, 0, 0, 0, 0])
  counts = progress.progress_counts(steps, distance)
  assert {name: float(counts[name]) for name in FIELDS} == {
    "failed_steps": 4,
    "failed_progress": 1,
    "failed_unreachable": 2,
    "successful_steps": 3,
    "successful_progress": 2,
  }
  shares = progress.progress_shares(counts)
  assert float(shares["progress/failed"]) == 0.25
  np.testing.assert_allclose(shares["progress/idle_in_successful"], 1 / 3)


def test_last_step_of_a_success_makes_progress_unless_it_is_free():
  for cost, expected in (([1.0], True), ([0.0], False)):
    steps, _ = random_groups.lay_out(
      [random_groups.rollout([1], [0], cost=cost)], 2
    )
    assert bool(everything(steps)[0][0]) is expected


def test_nothing_valid_is_finite():
  steps, names = random_groups.corner_steps()
  _, counts, shares = jax.jit(jax.vmap(everything))(steps)
  at = names.index("nothing valid")
  assert not any(float(counts[name][at]) for name in FIELDS)
  assert all(np.isfinite(share).all() for share in shares.values())
  assert not any(float(share[at]) for share in shares.values())


def test_independent_of_layout_and_numbering():
  groups = [random_groups.random_group(seed) for seed in range(40)]
  lay_out = functools.partial(random_groups.lay_out, num_entries=NUM_ENTRIES)
  first = random_groups.stack([lay_out(group)[0] for group in groups])
  second, _, _ = rules.relaid(groups, lay_out, num_nodes=NUM_NODES)
  run = jax.jit(jax.vmap(everything))
  before, after = (run(steps)[1] for steps in (first, second))
  for name in FIELDS:
    np.testing.assert_array_equal(after[name], before[name], err_msg=name)


@pytest.fixture(scope="module")
def eight():
  return laid_out(groups(8)[:8])


@pytest.fixture(scope="module")
def expected(eight):
  return transforms.reference(everything, eight)


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, eight, expected):
  rules.assert_same_under(transform, everything, (eight,), expected, rtol=1e-6)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(
      self.variant, everything, (laid_out(groups(1)),), rtol=1e-6
    )


def test_traced_once(eight):
  transforms.assert_traced_once(everything, (eight,))
