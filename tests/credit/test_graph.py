import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from tests.credit import random_groups, rules, transforms

NUM_NODES = 9
NUM_EDGES = 48


def random_keys(rng, number):
  """Fingerprints of few values in each lane: many agree in one lane only."""
  return rng.choice([0, 1, 7, 2**31, 2**32 - 1], (number, 2)).astype(np.uint32)


def ids_oracle(keys, mask, limit):
  """np.unique numbers rows by both lanes, as unsigned numbers."""
  ids = np.full(len(keys), graph_lib.NO_NODE)
  if mask.any():
    _, inverse = np.unique(keys[mask], axis=0, return_inverse=True)
    rank = inverse.reshape(-1) + 1
    ids[mask] = np.where(rank < limit, rank, graph_lib.NO_NODE)
  return ids


@pytest.mark.parametrize("limit", [None, 2, 5, 12])
def test_node_ids_equal_unique(limit):
  rng = np.random.default_rng(0)
  keys = np.stack([random_keys(rng, 20) for _ in range(200)])
  mask = rng.random((200, 20)) < rng.random((200, 1))
  nodes = jax.jit(
    jax.vmap(lambda *args: graph_lib.node_ids(*args, max_nodes=limit))
  )(keys, mask)
  nodes = jax.tree.map(np.asarray, nodes)
  for at in range(200):
    room = 21 if limit is None else limit
    expected = ids_oracle(keys[at], mask[at], room)
    np.testing.assert_array_equal(nodes.ids[at], expected)
    lost = np.sum(mask[at] & (expected == graph_lib.NO_NODE))
    assert nodes.overflow[at] == lost
    assert nodes.num_nodes[at] == 1 + len(np.unique(expected[expected > 0]))
    if limit is None:
      assert lost == 0


def test_node_ids_do_not_depend_on_order_or_padding():
  rng = np.random.default_rng(1)
  keys = random_keys(rng, 12)
  mask = np.ones(12, bool)
  numbered = jax.jit(lambda k, m: graph_lib.node_ids(k, m, max_nodes=6))
  wide = np.concatenate([keys, random_keys(rng, 8)])
  wide_mask = np.arange(20) < 12
  expected = numbered(wide, wide_mask)
  np.testing.assert_array_equal(expected.ids[:12], numbered(keys, mask).ids)
  for _ in range(10):
    order = rng.permutation(20)
    nodes = numbered(wide[order], wide_mask[order])
    np.testing.assert_array_equal(nodes.ids, expected.ids[order])
    assert nodes.num_nodes == expected.num_nodes
    assert nodes.overflow == expected.overflow > 0


def test_node_ids_small_case():
  keys = np.array([[5, 1], [5, 0], [9, 9], [5, 1], [4, 9]], np.uint32)
  mask = np.array([True, True, False, True, True])
  nodes = graph_lib.node_ids(keys, mask)
  assert nodes.ids.tolist() == [3, 2, -1, 3, 1]
  assert (int(nodes.num_nodes), int(nodes.overflow)) == (4, 0)
  # Two ids fit beside the sink: the state of rank 3 is left out, twice.
  nodes = graph_lib.node_ids(keys, mask, max_nodes=3)
  assert nodes.ids.tolist() == [-1, 2, -1, -1, 1]
  assert (int(nodes.num_nodes), int(nodes.overflow)) == (3, 2)


def test_nodes_of_nothing():
  nodes = graph_lib.node_ids(np.zeros((4, 2), np.uint32), np.zeros(4, bool))
  assert nodes.ids.tolist() == [graph_lib.NO_NODE] * 4
  assert (int(nodes.num_nodes), int(nodes.overflow)) == (1, 0)


def test_node_ids_refuse():
  keys, mask = np.zeros((4, 2), np.uint32), np.ones(4, bool)
  with pytest.raises(ValueError, match="at least 2"):
    graph_lib.node_ids(keys, mask, max_nodes=1)
  for wrong in (
    (keys.astype(np.int32), mask),
    (keys, mask.astype(np.int32)),
    (keys[:, :1], mask),
    (keys, mask[:3]),
  ):
    with pytest.raises(AssertionError):
      graph_lib.node_ids(*wrong)


def graph_oracle(steps, max_nodes, max_edges):
  """Edges as (source, target, cost), kept in order up to the limit."""
  edges = [
    (int(s), int(t), float(c))
    for s, t, c, valid in zip(
      steps.source, steps.target, steps.cost, steps.mask, strict=True
    )
    if valid and 0 <= s < max_nodes and 0 <= t < max_nodes
  ]
  kept = edges if max_edges is None else edges[:max_edges]
  return kept, int(np.sum(steps.mask)) - len(kept)


@pytest.mark.parametrize(
  ("max_nodes", "max_edges"),
  [(NUM_NODES, None), (4, None), (NUM_NODES, 7), (4, 7), (9, 48), (9, 100)],
)
def test_build_graph_equals_the_oracle(max_nodes, max_edges):
  rng = np.random.default_rng(2)
  laid_out = [
    random_groups.lay_out(random_groups.random_group(seed), NUM_EDGES, rng=rng)[
      0
    ]
    for seed in range(200)
  ]
  # Some states found no id.
  for steps in laid_out[::3]:
    steps.target[rng.random(NUM_EDGES) < 0.2] = graph_lib.NO_NODE
    steps.source[rng.random(NUM_EDGES) < 0.1] = graph_lib.NO_NODE
  built, matrix = jax.jit(
    jax.vmap(
      lambda steps: (
        graph := graph_lib.build_graph(
          steps, max_nodes=max_nodes, max_edges=max_edges
        ),
        graph_lib.adjacency(graph),
      )
    )
  )(random_groups.stack(laid_out))
  built, matrix = jax.tree.map(np.asarray, (built, matrix))
  for at, steps in enumerate(laid_out):
    graph = jax.tree.map(lambda leaf, at=at: leaf[at], built)
    expected, lost = graph_oracle(steps, max_nodes, max_edges)
    edges = zip(
      graph.source[graph.mask].tolist(),
      graph.target[graph.mask].tolist(),
      graph.cost[graph.mask].tolist(),
      strict=True,
    )
    assert list(edges) == expected
    assert graph.overflow == lost
    assert np.all(graph.source[~graph.mask] == graph_lib.NO_NODE)
    assert np.all(graph.target[~graph.mask] == graph_lib.NO_NODE)
    assert np.all(np.isposinf(graph.cost[~graph.mask]))
    nodes = {graph_lib.SUCCESS}.union(*(edge[:2] for edge in expected))
    assert np.flatnonzero(graph.node_mask).tolist() == sorted(nodes)
    assert graph.num_nodes == len(nodes)
    cheapest = {}
    for source, target, cost in expected:
      best = cheapest.get((source, target), math.inf)
      cheapest[source, target] = min(best, cost)
    full = np.full((max_nodes, max_nodes), np.inf, np.float32)
    for (source, target), cost in cheapest.items():
      full[source, target] = cost
    np.testing.assert_array_equal(matrix[at], full)


def test_adjacency_keeps_the_cheapest_parallel_edge():
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1], [2], cost=[3.0]),
      random_groups.rollout([1, 2], [2, 0], cost=[0.5, 4.0]),
      random_groups.rollout([1, 2], [2, 2], cost=[2.0, 0.0]),
    ],
    8,
  )
  graph = graph_lib.build_graph(steps, max_nodes=3)
  infinity = np.inf
  np.testing.assert_array_equal(
    graph_lib.adjacency(graph),
    [[infinity] * 3, [infinity, infinity, 0.5], [4.0, infinity, 0.0]],
  )


def test_graph_does_not_depend_on_layout():
  """The adjacency tensor is the same, or permuted as the nodes are."""
  groups = [random_groups.random_group(seed) for seed in range(100)]
  lay_out = functools.partial(random_groups.lay_out, num_entries=NUM_EDGES)
  first = random_groups.stack([lay_out(group)[0] for group in groups])
  second, _, numberings = rules.relaid(groups, lay_out, num_nodes=NUM_NODES)
  run = jax.jit(
    jax.vmap(
      lambda steps: graph_lib.adjacency(
        graph_lib.build_graph(steps, max_nodes=NUM_NODES)
      )
    )
  )
  before, after = (np.asarray(run(steps)) for steps in (first, second))
  for one, other, numbering in zip(before, after, numberings, strict=True):
    np.testing.assert_array_equal(other[np.ix_(numbering, numbering)], one)


def test_build_graph_refuses():
  steps, _ = random_groups.lay_out([random_groups.rollout([1], [0])], 2)
  with pytest.raises(ValueError, match="max_nodes"):
    graph_lib.build_graph(steps, max_nodes=0)
  with pytest.raises(ValueError, match="max_edges"):
    graph_lib.build_graph(steps, max_nodes=2, max_edges=0)
  with pytest.raises(AssertionError):
    graph_lib.build_graph(
      steps.replace(source=steps.source.astype(np.float32)), max_nodes=2
    )
  with pytest.raises(AssertionError):
    graph_lib.build_graph(steps.replace(cost=steps.cost[:1]), max_nodes=2)


def test_edge_weights():
  rng = np.random.default_rng(4)
  laid_out = [
    random_groups.lay_out(random_groups.random_group(seed), NUM_EDGES, rng=rng)[
      0
    ]
    for seed in range(200)
  ]
  weights = jax.jit(jax.vmap(graph_lib.edge_weights))(
    random_groups.stack(laid_out)
  )
  for steps, found in zip(laid_out, np.asarray(weights), strict=True):
    edges = [
      (source, target) if valid and source >= 0 and target >= 0 else None
      for source, target, valid in zip(
        steps.source.tolist(), steps.target.tolist(), steps.mask, strict=True
      )
    ]
    expected = [0 if edge is None else 1 / edges.count(edge) for edge in edges]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_corner_groups():
  steps, names = random_groups.corner_steps()
  graph = jax.jit(
    jax.vmap(lambda s: graph_lib.build_graph(s, max_nodes=NUM_NODES))
  )(steps)
  assert not graph.overflow.any()
  at = names.index("nothing valid")
  assert not graph.mask[at].any()
  assert graph.node_mask[at].tolist() == [True] + [False] * (NUM_NODES - 1)
  assert graph.num_nodes[names.index("one step")] == 2
  assert graph.num_nodes[names.index("all states different")] == 7


def everything(steps, keys):
  graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  return {
    "node_ids": graph_lib.node_ids(keys, steps.mask, max_nodes=6),
    "build_graph": graph,
    "build_graph, limited": graph_lib.build_graph(
      steps, max_nodes=5, max_edges=9
    ),
    "adjacency": graph_lib.adjacency(graph),
    "edge_weights": graph_lib.edge_weights(steps),
  }


def arguments():
  rng = np.random.default_rng(5)
  steps, _ = random_groups.batch(range(20, 28))
  return steps, np.stack([random_keys(rng, NUM_EDGES) for _ in range(8)])


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, *arguments())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, everything, arguments(), expected)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(self.variant, everything, arguments())


def test_traced_once():
  transforms.assert_traced_once(everything, arguments())


def test_data_classes_are_frozen():
  nodes = graph_lib.node_ids(jnp.zeros((1, 2), jnp.uint32), jnp.ones(1, bool))
  with pytest.raises(AttributeError):
    nodes.ids = nodes.ids
