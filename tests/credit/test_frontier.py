import functools
import math

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax.credit import distances, frontier, in_edges, sharded
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import large_graphs, random_groups, rules, transforms

CHUNKS = ((1,), (7,), (4, 16, 64))
NUM_NODES = large_graphs.NUM_NODES
NUM_EDGES = large_graphs.NUM_EDGES

edge_distances = jax.jit(distances.edge_distances)
build_graph = jax.jit(functools.partial(graph_lib.build_graph, max_nodes=9))


@functools.partial(jax.jit, static_argnames="chunks")
def relax(graph, chunks=(7,)):
  return frontier.relax(in_edges.in_edges(graph), chunks=chunks)


def assert_same_bits(actual, expected):
  np.testing.assert_array_equal(
    np.asarray(actual).view(np.uint32), np.asarray(expected).view(np.uint32)
  )


def in_degrees(graph):
  """Edges into each node, and those of them whose target reaches SUCCESS."""
  degree = np.bincount(
    np.asarray(graph.target)[np.asarray(graph.mask)],
    minlength=graph.node_mask.shape[0],
  )
  reaching = np.isfinite(np.asarray(edge_distances(graph)))
  return degree, int(degree[reaching].sum())


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("kind", random_groups.COST_KINDS)
def test_equals_edge_distances_bit_for_bit(kind, chunks):
  reached = 0
  for seed, shape in enumerate(large_graphs.SHAPES * 3):
    graph = large_graphs.random_graph(seed, shape, kind)
    expected = edge_distances(graph)
    found = relax(graph, chunks)
    assert_same_bits(found.distance, expected)
    reached += np.isfinite(expected[1:]).sum()
    if shape.startswith("no "):
      assert np.isinf(found.distance[1:]).all()
      assert found.relaxed == found.turns == 0
  assert reached > 100


@pytest.mark.parametrize("kind", random_groups.COST_KINDS)
def test_equals_dijkstra(kind):
  graph = large_graphs.random_graph(5, "walks", kind)
  used = np.asarray(graph.mask)
  edges = [
    np.asarray(column)[used].tolist()
    for column in (graph.source, graph.target, graph.cost)
  ]
  best = oracle.shortest_distances(
    list(zip(*edges, strict=True)), sink=graph_lib.SUCCESS
  )
  expected = [best.get(node, math.inf) for node in range(NUM_NODES)]
  rtol = 1e-5 if kind == "float" else 0.0
  found = relax(graph).distance
  np.testing.assert_allclose(found, expected, rtol=rtol)
  assert np.isfinite(expected).sum() > 10


@pytest.mark.extra("dev")
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  edges=st.lists(
    st.tuples(
      st.integers(1, 9), st.integers(0, 9), st.floats(0, 100, width=32)
    ),
    max_size=40,
  ),
  chunks=st.sampled_from(CHUNKS),
)
def test_any_graph(edges, chunks):
  columns = zip(*edges, strict=True) if edges else ([], [], [])
  graph = large_graphs.graph_of(
    *map(np.array, columns), NUM_NODES, num_edges=NUM_EDGES
  )
  assert_same_bits(relax(graph, chunks).distance, edge_distances(graph))


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("shape", large_graphs.SHAPES)
def test_unit_costs_relax_every_edge_once(shape, chunks):
  """Those into states that reach SUCCESS, that is; no other at all."""
  graph = large_graphs.random_graph(1, shape, "unit")
  found = relax(graph, chunks)
  degree, expected = in_degrees(graph)
  assert found.relaxed == expected <= degree.sum()
  # At most one turn of the widest chunk is not full for each distance.
  finite = np.asarray(found.distance)[np.isfinite(found.distance)]
  levels = len(np.unique(finite))
  assert found.turns <= expected // chunks[0] + levels + 1


@pytest.mark.slow
def test_work_on_a_chain_is_linear():
  """4000 edges relaxed where sweeps over all edges would relax 4000^2."""
  graph = large_graphs.chain(4000, cost=0.5)
  found = relax(graph, frontier.CHUNKS)
  np.testing.assert_array_equal(found.distance, np.arange(4001) / 2)
  assert found.relaxed == found.turns == 4000


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_work_on_a_chain_of_parallel_edges(chunks):
  number = NUM_NODES - 1
  graph = large_graphs.chain(number, parallel=4, cost=0.5)
  graph = sharded.pad_edges(graph, multiple=NUM_EDGES)
  found = relax(graph, chunks)
  np.testing.assert_array_equal(found.distance, np.arange(number + 1) / 2)
  assert found.relaxed == 4 * number
  assert found.turns == number * (4 if chunks == (1,) else 1)


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_one_state_of_many_edges_fills_many_chunks(chunks):
  source = np.ones(NUM_EDGES)
  cost = 1 + np.random.default_rng(0).random(NUM_EDGES)
  graph = large_graphs.graph_of(source, 0 * source, cost, NUM_NODES)
  found = relax(graph, chunks)
  assert found.distance[1] == np.min(cost).astype(np.float32)
  assert found.relaxed == NUM_EDGES
  turns = {(1,): 241, (7,): 35, (4, 16, 64): 4}
  assert found.turns == turns[chunks]


def test_a_state_that_drops_while_its_edges_are_taken():
  """The dear way to 1 comes first; 40 edges into it, a few a turn."""
  leaves = 10 + np.arange(40)
  source = np.concatenate([[1, 2, 1], leaves])
  target = np.concatenate([[0, 0, 2], np.ones(40, int)])
  cost = np.concatenate([[9.0, 1.0, 1.0], np.ones(40)])
  graph = large_graphs.graph_of(
    source, target, cost, NUM_NODES, num_edges=NUM_EDGES
  )
  for chunks in CHUNKS:
    found = relax(graph, chunks)
    assert found.distance[1] == 2.0
    np.testing.assert_array_equal(found.distance[10:50], np.full(40, 3.0))
    assert 43 <= found.relaxed <= 43 + 40


def test_costs_that_would_never_end_are_left_out():
  r"""1 -> 1 at -1, 2 -> SUCCESS at NaN; 1 -> SUCCESS costs 3."""
  graph = large_graphs.graph_of(
    np.array([1, 2, 1]),
    np.array([1, 0, 0]),
    np.array([-1, np.nan, 3]),
    NUM_NODES,
    num_edges=NUM_EDGES,
  )
  found = relax(graph)
  assert found.distance[:3].tolist() == [0.0, 3.0, math.inf]


def test_count_stops_before_it_wraps():
  near = frontier.COUNT_LIMIT - 1
  assert frontier.count(jnp.int32(near), jnp.int32(9)) == near + 9
  full = jnp.int32(near + 9)
  assert frontier.count(full, jnp.int32(9)) == full


@pytest.mark.slow
def test_memory_is_as_stated():
  """16 bytes an edge and 20 a node beside the graph, compiled, not run."""
  number = 10**7

  def memory(num_edges, num_nodes):
    shapes = {"source": jnp.int32, "target": jnp.int32, "cost": jnp.float32}
    edges = {
      name: jax.ShapeDtypeStruct((num_edges,), kind)
      for name, kind in (shapes | {"mask": bool}).items()
    }
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    graph = graph_lib.StateGraph(
      node_mask=jax.ShapeDtypeStruct((num_nodes,), bool),
      num_nodes=scalar,
      overflow=scalar,
      **edges,
    )
    # One size of chunk compiles faster, and chunks are small beside 10^7.
    function = functools.partial(frontier.frontier_distances, chunks=(4096,))
    compiled = jax.jit(function).lower(graph).compile()
    found = compiled.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes

  assert memory(number, 1000) < 1.02 * 16 * number
  assert memory(number, number) < 1.02 * 36 * number


def test_corner_groups():
  steps, names = random_groups.corner_steps()
  for at, name in enumerate(names):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
    graph = build_graph(one)
    found = relax(graph).distance
    np.testing.assert_array_equal(found, edge_distances(graph), err_msg=name)


def test_no_edges_at_all():
  graph = large_graphs.graph_of(*[np.zeros(0)] * 3, 3)
  found = relax(graph).distance
  assert found.tolist() == [0.0, math.inf, math.inf]


@pytest.mark.parametrize("chunks", [(), (0, 4), (8, 8), (8, 4)])
def test_bad_chunks(chunks):
  graph = large_graphs.chain(3)
  with pytest.raises(ValueError, match="chunks must rise"):
    frontier.frontier_distances(graph, chunks=chunks)


def test_no_gradient():
  graph = large_graphs.random_graph(2, "random", "float")

  def total(cost):
    found = frontier.frontier_distances(graph.replace(cost=cost), chunks=(7,))
    return jnp.sum(jnp.where(jnp.isfinite(found), found, 0.0))

  value, gradient = jax.jit(jax.value_and_grad(total))(graph.cost)
  assert value > 0 and not gradient.any()


def everything(steps):
  graph = graph_lib.build_graph(steps, max_nodes=10)
  found = frontier.relax(in_edges.in_edges(graph), chunks=(4,))
  # Turns do not agree under vmap, where a group that is done idles along.
  return {"distance": found.distance, "relaxed": found.relaxed}


def arguments():
  return random_groups.batch(range(8), kind="float")[0]


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, arguments())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, everything, (arguments(),), expected)
  assert (expected["relaxed"] > 0).any()


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(self.variant, everything, (arguments(),))


def test_traced_once():
  transforms.assert_traced_once(everything, (arguments(),))
