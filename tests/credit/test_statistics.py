import functools

import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.credit import distances, statistics
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 9
FIELDS = (
  "groups",
  "groups_with_success",
  "states",
  "reachable_states",
  "state_groups",
  "singleton_groups",
  "steps",
  "progress_steps",
  "faint_steps",
  "overflow",
)


def everything(steps, step_return):
  graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  distance = distances.edge_distances(graph)
  counts = statistics.graph_statistics(
    steps, graph, distance, step_return, epsilon=0.01
  )
  return distance, counts, statistics.shares(counts)


def counts_oracle(steps, step_return, distance, epsilon):
  rows = np.flatnonzero(steps.mask).tolist()
  source, target = steps.source.tolist(), steps.target.tolist()
  by_state = {}
  for row in rows:
    by_state.setdefault(source[row], []).append(float(step_return[row]))
  spread = {s: max(v) - min(v) for s, v in by_state.items()}
  states = ({source[r] for r in rows} | {target[r] for r in rows}) - {0}
  return {
    "groups": bool(rows),
    "groups_with_success": any(steps.success[row] for row in rows),
    "states": len(states),
    "reachable_states": sum(np.isfinite(distance[s]) for s in states),
    "state_groups": len(by_state),
    "singleton_groups": sum(len(v) == 1 for v in by_state.values()),
    "steps": len(rows),
    "progress_steps": sum(
      distance[target[row]] < distance[source[row]] for row in rows
    ),
    "faint_steps": sum(0 < spread[source[row]] < 100 * epsilon for row in rows),
    "overflow": 0,
  }


def arguments(number=192):
  rng = np.random.default_rng(0)
  steps = random_groups.stack(
    [
      random_groups.lay_out(
        random_groups.random_group(seed), NUM_ENTRIES, rng=rng
      )[0]
      for seed in range(number)
    ]
  )
  corners, _ = random_groups.corner_steps(NUM_ENTRIES)
  steps = jax.tree.map(lambda *x: np.concatenate(x), steps, corners)
  # Multiples of 1/4 on most; their spreads stand on both sides of the limit 1.
  step_return = rng.integers(0, 6, steps.mask.shape) / 4
  return steps, np.where(steps.mask, step_return, np.nan).astype(np.float32)


def test_equal_the_oracle():
  steps, step_return = arguments()
  distance, counts, shares = jax.tree.map(
    np.asarray, jax.jit(jax.vmap(everything))(steps, step_return)
  )
  for at in range(len(step_return)):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
    expected = counts_oracle(one, step_return[at], distance[at], 0.01)
    found = {name: counts[name][at] for name in FIELDS}
    assert found == expected, at
    for name, part, whole in (
      ("reachable_states", "reachable_states", "states"),
      ("singleton_groups", "singleton_groups", "state_groups"),
      ("groups_with_success", "groups_with_success", "groups"),
      ("progress_steps", "progress_steps", "steps"),
      ("faint_steps", "faint_steps", "steps"),
    ):
      share = shares[f"graph/{name}"][at]
      np.testing.assert_allclose(
        share, expected[part] / max(expected[whole], 1), rtol=1e-6
      )
      assert 0.0 <= share <= 1.0


def test_small_case():
  """1 -> 2 -> SUCCESS, 1 -> 3, 1 -> 3; a step of node 5 finds no room."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 2], [2, 0]),
      random_groups.rollout([1, 3], [3, 3]),
      random_groups.rollout([1, 5], [3, 5]),
    ],
    8,
  )
  graph = graph_lib.build_graph(steps, max_nodes=4)
  distance = distances.edge_distances(graph)
  step_return = np.array([5e-5, 10, 0, 0, 0, 0, 0, 0], np.float32)
  counts = statistics.graph_statistics(steps, graph, distance, step_return)
  assert {name: float(counts[name]) for name in FIELDS} == {
    "groups": 1,
    "groups_with_success": 1,
    "states": 3,
    "reachable_states": 2,
    "state_groups": 3,
    "singleton_groups": 2,
    "steps": 6,
    "progress_steps": 2,
    "faint_steps": 3,
    "overflow": 1,
  }
  np.testing.assert_allclose(
    list(statistics.shares(counts).values()),
    [2 / 3, 2 / 3, 1, 1 / 3, 1 / 2, 1],
    rtol=1e-6,
  )


def test_what_is_left_out_never_makes_more_groups_than_states():
  """2 finds its id, but its only step leads to a state without one."""
  steps, _ = random_groups.lay_out(
    [random_groups.rollout([1], [0]), random_groups.rollout([2], [5])], 4
  )
  graph = graph_lib.build_graph(steps, max_nodes=3)
  counts = statistics.graph_statistics(
    steps, graph, distances.edge_distances(graph), np.zeros(4, np.float32)
  )
  assert counts.overflow == 1
  assert counts.state_groups <= counts.states


def test_counts_add_over_groups():
  steps, step_return = arguments(20)
  _, counts, _ = jax.jit(jax.vmap(everything))(steps, step_return)
  shares = statistics.shares(jax.tree.map(lambda leaf: leaf.sum(0), counts))
  np.testing.assert_allclose(
    shares["graph/groups_with_success"],
    counts.groups_with_success.sum() / counts.groups.sum(),
    rtol=1e-6,
  )
  # 30 groups, one of them without a step.
  assert counts.groups.sum() == 29


def test_shares_of_nothing():
  nothing = statistics.GraphStatistics(**dict.fromkeys(FIELDS, np.float32(0.0)))
  assert not any(
    np.asarray(leaf) for leaf in statistics.shares(nothing).values()
  )


def test_independent_of_layout_and_numbering():
  groups = [random_groups.random_group(seed) for seed in range(60)]
  lay_out = functools.partial(random_groups.lay_out, num_entries=NUM_ENTRIES)
  first = random_groups.stack([lay_out(group)[0] for group in groups])
  second, _, _ = rules.relaid(groups, lay_out, num_nodes=NUM_NODES)
  run = jax.jit(jax.vmap(everything))
  before, after = (
    run(steps, np.where(steps.mask, steps.episode_return, 0.0))[1]
    for steps in (first, second)
  )
  for name in FIELDS:
    np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def eight():
  return jax.tree.map(lambda leaf: leaf[:8], arguments(8))


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, *eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, everything, eight(), expected, rtol=1e-6)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(self.variant, everything, eight(), rtol=1e-6)


def test_traced_once():
  transforms.assert_traced_once(everything, eight())
