import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph

from graphgpo_jax.credit import distances
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import large_graphs, random_groups, rules, transforms

NUM_NODES = 12
NUM_EDGES = 40
METHODS = ("edges", "dense", "auto")


def random_edges(seed, kind, num_nodes=NUM_NODES, num_edges=NUM_EDGES):
  """Steps that are no rollouts: any edges, self-loops and parallels among."""
  rng = np.random.default_rng(seed)
  used = int(rng.integers(0, num_edges + 1))
  states = int(rng.integers(1, num_nodes))
  source = rng.integers(1, states + 1, num_edges)
  target = rng.integers(1, states + 1, num_edges)
  target[rng.random(num_edges) < rng.choice([0.0, 0.1, 0.4])] = 0
  columns = {
    name: np.zeros(num_edges, dtype)
    for name, dtype in random_groups.COLUMNS.items()
  }
  columns |= {
    "source": source.astype(np.int32),
    "target": target.astype(np.int32),
    "cost": random_groups.random_costs(rng, kind, num_edges),
    "mask": rng.permutation(num_edges) < used,
  }
  return graph_lib.Steps(**columns)


def run_all(steps, *, max_nodes=NUM_NODES, max_edges=None):
  def one(steps):
    graph = graph_lib.build_graph(
      steps, max_nodes=max_nodes, max_edges=max_edges
    )
    return graph, {
      method: distances.shortest_distances(graph, method=method)
      for method in METHODS
    }

  graph, found = jax.jit(jax.vmap(one))(steps)
  return graph, jax.tree.map(np.asarray, found)


def dijkstra(steps, num_nodes):
  edges = [
    (int(s), int(t), float(c))
    for s, t, c, valid in zip(
      steps.source, steps.target, steps.cost, steps.mask, strict=True
    )
    if valid
  ]
  best = oracle.shortest_distances(edges, sink=graph_lib.SUCCESS)
  return np.array([best.get(node, math.inf) for node in range(num_nodes)])


@pytest.mark.parametrize("kind", random_groups.COST_KINDS)
def test_equals_dijkstra_and_methods_agree_bit_for_bit(kind):
  all_steps = [random_edges(seed, kind) for seed in range(300)]
  _, found = run_all(random_groups.stack(all_steps))
  for method in ("dense", "auto"):
    np.testing.assert_array_equal(
      found[method].view(np.uint32), found["edges"].view(np.uint32)
    )
  expected = np.stack([dijkstra(steps, NUM_NODES) for steps in all_steps])
  # Costs of the other kinds add without rounding.
  rtol = 1e-5 if kind == "float" else 0.0
  np.testing.assert_allclose(found["edges"], expected, rtol=rtol)
  reachable = np.isfinite(expected[:, 1:])
  assert reachable.any() and not reachable.all()


def test_equals_scipy_on_larger_graphs():
  all_steps = [random_edges(seed, "float", 64, 300) for seed in range(20)]
  graph, found = run_all(random_groups.stack(all_steps), max_nodes=64)
  for at, steps in enumerate(all_steps):
    matrix = np.full((64, 64), np.inf, np.float32)
    valid = steps.mask
    np.minimum.at(
      matrix, (steps.target[valid], steps.source[valid]), steps.cost[valid]
    )
    # A sparse matrix keeps its explicit zeros: edges that cost nothing.
    rows, columns = np.nonzero(np.isfinite(matrix))
    reverse = sparse.csr_array(
      (matrix[rows, columns], (rows, columns)), shape=(64, 64)
    )
    expected = csgraph.dijkstra(reverse, indices=graph_lib.SUCCESS)
    np.testing.assert_allclose(found["edges"][at], expected, rtol=1e-5)
    np.testing.assert_array_equal(found["dense"][at], found["edges"][at])
  assert graph.overflow.sum() == 0


def chain(number, cost):
  """States number, ..., 2, 1, SUCCESS in a row."""
  source = np.arange(number, 0, -1)
  steps, _ = random_groups.lay_out(
    [random_groups.rollout(source, source - 1, cost=np.full(number, cost))],
    number,
  )
  return steps


@pytest.mark.parametrize("number", [1, 2, 300])
def test_a_long_way_is_followed_to_its_end(number):
  """300 is past the node limit of the dense form under "auto"."""
  assert distances.DENSE_NODE_LIMIT < 300
  graph = graph_lib.build_graph(chain(number, 0.5), max_nodes=number + 1)
  for method in METHODS:
    found = distances.shortest_distances(graph, method=method)
    np.testing.assert_array_equal(found, np.arange(number + 1) / 2)


def test_small_case():
  r"""A cycle, a self-loop, a dead end, a dear short way and a free edge.

  1 -> 2 -> 3 -> SUCCESS costs .5 + 0 + 1; 1 -> SUCCESS costs 4; 3 -> 1.
  """
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 2, 3], [2, 3, 0], cost=[0.5, 0.0, 1.0]),
      random_groups.rollout([3, 1], [1, 0], cost=[1.0, 4.0]),
      random_groups.rollout([1, 1, 4], [1, 4, 4], cost=[0.0, 1.0, 1.0]),
    ],
    10,
  )
  graph = graph_lib.build_graph(steps, max_nodes=6)
  for method in METHODS:
    found = distances.shortest_distances(graph, method=method)
    assert found.tolist() == [0.0, 1.5, 1.0, 1.0, math.inf, math.inf]


def test_what_the_limits_leave_out_is_counted():
  """2 -> 1 -> SUCCESS; without its last edge nothing reaches SUCCESS."""
  steps = chain(2, 1.0)
  graph, found = run_all(random_groups.stack([steps]), max_edges=1)
  assert graph.overflow.tolist() == [1]
  for method in METHODS:
    assert found[method][0].tolist()[:3] == [0.0, math.inf, math.inf]
  # Node 2 finds no room: its step is left out, node 1 keeps its distance.
  graph, found = run_all(random_groups.stack([steps]), max_nodes=2)
  assert graph.overflow.tolist() == [1]
  for method in METHODS:
    assert found[method][0].tolist() == [0.0, 1.0]
  graph, _ = run_all(random_groups.stack([steps]), max_nodes=3, max_edges=2)
  assert graph.overflow.tolist() == [0]


def test_independent_of_layout_and_numbering():
  groups = [
    random_groups.random_group(seed, kind="float") for seed in range(200)
  ]
  lay_out = functools.partial(random_groups.lay_out, num_entries=44)
  first = random_groups.stack([lay_out(group)[0] for group in groups])
  second, _, numberings = rules.relaid(groups, lay_out, num_nodes=NUM_NODES)
  before, after = (run_all(steps)[1] for steps in (first, second))
  for method in METHODS:
    moved = np.take_along_axis(after[method], np.stack(numberings), axis=1)
    np.testing.assert_array_equal(moved, before[method])


def test_independent_of_trailing_padding_and_spare_nodes():
  group = random_groups.random_group(11, kind="float")
  results = []
  for num_entries, max_nodes in ((42, 9), (57, 20)):
    steps, _ = random_groups.lay_out(group, num_entries)
    _, found = run_all(random_groups.stack([steps]), max_nodes=max_nodes)
    for method in METHODS:
      assert np.all(np.isinf(found[method][0, 9:]))
      results.append(found[method][0, :9])
  for found in results[1:]:
    np.testing.assert_array_equal(found, results[0])


def test_corner_groups():
  steps, names = random_groups.corner_steps()
  _, found = run_all(steps)
  for method in METHODS:
    assert not np.isnan(found[method]).any()
    assert np.all(found[method][:, graph_lib.SUCCESS] == 0)
    for name in ("no success", "nothing valid", "one step, no success"):
      assert np.all(np.isinf(found[method][names.index(name)][1:]))
    cheap = found[method][names.index("no cost")]
    assert cheap[:3].tolist() == [0.0, 0.0, 0.0]


def test_unknown_method():
  graph = graph_lib.build_graph(chain(2, 1.0), max_nodes=3)
  with pytest.raises(ValueError, match="'fastest'"):
    distances.shortest_distances(graph, method="fastest")


def test_distance_method():
  graph = graph_lib.build_graph(chain(2, 1.0), max_nodes=3)
  for method in METHODS:
    found = distances.distance_method(method)(graph)
    assert found.tolist() == [0.0, 1.0, 2.0]


def test_finite_distances():
  infinity = math.inf
  for distance, margin, expected in (
    ([0.0, 2.0, infinity, 0.5], 1.0, [0.0, 2.0, 3.0, 0.5]),
    ([0.0, 2.0, infinity, 0.5], 0.25, [0.0, 2.0, 2.25, 0.5]),
    ([0.0, infinity, infinity], 1.0, [0.0, 1.0, 1.0]),
    ([0.0, infinity, infinity], 3.0, [0.0, 3.0, 3.0]),
    ([0.0], 1.0, [0.0]),
    ([0.0, 0.0, infinity], 0.0, [0.0, 0.0, 0.0]),
  ):
    found = distances.finite_distances(jnp.array(distance), margin=margin)
    assert found.tolist() == expected
  assert distances.finite_distances(jnp.array([0.0, infinity]))[1] == 1.0
  with pytest.raises(AssertionError):
    distances.finite_distances(jnp.zeros((2, 2)))


def test_finite_distances_equal_the_oracle():
  rng = np.random.default_rng(1)
  found = rng.uniform(0, 5, (100, 9)).astype(np.float32)
  found[rng.random((100, 9)) < 0.4] = np.inf
  found[:, 0] = 0.0
  actual = jax.vmap(distances.finite_distances)(found)
  farthest = np.max(np.where(np.isinf(found), 0, found), 1, keepdims=True)
  np.testing.assert_array_equal(
    actual, np.where(np.isinf(found), farthest + np.float32(1), found)
  )


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient(method):
  steps = random_edges(7, "float")

  def total(cost):
    graph = graph_lib.build_graph(steps.replace(cost=cost), max_nodes=NUM_NODES)
    found = distances.shortest_distances(graph, method=method)
    return jnp.sum(jnp.where(jnp.isfinite(found), found, 0.0))

  assert total(steps.cost) > 0
  assert not jax.grad(total)(steps.cost).any()


def everything(steps):
  graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  found = {
    method: distances.shortest_distances(graph, method=method)
    for method in METHODS
  }
  return found | {
    "finite": distances.finite_distances(found["edges"], margin=0.5)
  }


def arguments():
  return random_groups.stack([random_edges(at, "float") for at in range(8)])


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, arguments())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, everything, (arguments(),), expected)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(self.variant, everything, (arguments(),))


def test_traced_once():
  transforms.assert_traced_once(everything, (arguments(),))


@functools.cache
def compiled_adaptive(max_sweeps):
  return jax.jit(
    functools.partial(distances.adaptive_distances, max_sweeps=max_sweeps)
  )


compiled_edges = jax.jit(distances.edge_distances)


@pytest.mark.parametrize("max_sweeps", [1, 3, 100])
@pytest.mark.parametrize("shape", large_graphs.SHAPES)
def test_adaptive_equals_edges_before_and_after_it_turns(shape, max_sweeps):
  adaptive = compiled_adaptive(max_sweeps)
  for seed, kind in enumerate(random_groups.COST_KINDS):
    graph = large_graphs.random_graph(seed, shape, kind)
    np.testing.assert_array_equal(
      np.asarray(adaptive(graph)).view(np.uint32),
      np.asarray(compiled_edges(graph)).view(np.uint32),
    )


def test_auto_takes_the_frontier_for_large_graphs(monkeypatch):
  graph = large_graphs.chain(100)
  assert graph.mask.shape[0] < distances.FRONTIER_EDGE_LIMIT
  taken = []

  def recorded(graph):
    taken.append(graph)
    return distances.edge_distances(graph)

  monkeypatch.setattr(distances, "adaptive_distances", recorded)
  found = distances.shortest_distances(graph)
  assert not taken
  np.testing.assert_array_equal(found, np.arange(101))
  monkeypatch.setattr(distances, "FRONTIER_EDGE_LIMIT", 100)
  np.testing.assert_array_equal(
    distances.shortest_distances(graph), np.arange(101)
  )
  assert taken


def test_adaptive_wants_a_sweep():
  with pytest.raises(ValueError, match="max_sweeps must be at least 1"):
    distances.adaptive_distances(large_graphs.chain(3), max_sweeps=0)
