import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csgraph

from graphgpo_jax.credit import all_pairs, distances, min_plus, min_plus_kernel
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import random_groups, transforms

NUM_NODES = 14


def random_graph(seed, kind):
  group = random_groups.random_group(seed, kind=kind, max_states=12)
  steps, _ = random_groups.lay_out(group, 48, rng=np.random.default_rng(seed))
  return graph_lib.build_graph(steps, max_nodes=NUM_NODES)


def floyd_warshall(matrix):
  """SciPy's, on a dense graph in which a missing edge is inf, not 0."""
  matrix = np.array(matrix, np.float64)
  np.fill_diagonal(matrix, 0.0)
  return csgraph.floyd_warshall(
    csgraph.csgraph_from_dense(matrix, null_value=np.inf)
  )


@pytest.mark.parametrize("kind", random_groups.COST_KINDS)
def test_equals_scipy_and_shortest_distances(kind):
  steps, _ = random_groups.batch(range(40), kind=kind, max_states=12)

  @jax.jit
  @jax.vmap
  def run(steps):
    graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
    return (
      graph_lib.adjacency(graph),
      all_pairs.all_pairs_distances(graph),
      distances.shortest_distances(graph),
    )

  matrices, found, shortest = map(np.asarray, run(steps))
  rtol = 1e-5 if kind == "float" else 0.0
  for at, matrix in enumerate(matrices):
    np.testing.assert_allclose(found[at], floyd_warshall(matrix), rtol=rtol)
    assert not found[at].diagonal().any()
  column = found[:, :, graph_lib.SUCCESS]
  np.testing.assert_allclose(column, shortest, rtol=rtol)
  reachable = np.isfinite(column[:, 1:])
  assert reachable.any() and not reachable.all()


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 8, 9, 33])
def test_a_way_through_all_nodes_is_found(number):
  """The products suffice for the longest way there can be."""
  matrix = np.full((number, number), np.inf, np.float32)
  at = np.arange(number - 1)
  matrix[at + 1, at] = 0.5
  found = all_pairs.all_pairs_distances(jnp.array(matrix))
  apart = np.subtract.outer(np.arange(number), np.arange(number))
  np.testing.assert_array_equal(found, np.where(apart < 0, np.inf, apart / 2))


def test_number_of_products():
  """As many as the longest shortest path asks for, and one more to see it."""
  calls = []

  def counting(left, right):
    jax.debug.callback(lambda: calls.append(1))
    return min_plus.product(left, right)

  for number, most in ((33, 5), (34, 6)):
    calls.clear()
    matrix = jnp.full((number, number), jnp.inf)
    at = jnp.arange(number - 1)
    matrix = matrix.at[at + 1, at].set(1.0)
    all_pairs.all_pairs_distances(matrix, product=counting)
    jax.effects_barrier()
    assert len(calls) == most
  calls.clear()
  all_pairs.all_pairs_distances(jnp.ones((64, 64)), product=counting)
  jax.effects_barrier()
  assert len(calls) == 1


@pytest.mark.parametrize(
  "blocks",
  [
    {"platform": "tpu", "panel": 8, "unroll": 8},
    {"platform": "gpu", "rows": 16, "columns": 16},
  ],
)
def test_with_the_kernel(blocks):
  """The same bits, whichever product squares."""
  product = functools.partial(min_plus_kernel.product, interpret=True, **blocks)
  graph = random_graph(3, "float")
  found = all_pairs.all_pairs_distances(graph, product=product)
  expected = all_pairs.all_pairs_distances(graph)
  np.testing.assert_array_equal(found, expected)
  assert np.isfinite(expected).sum() > NUM_NODES


def test_batch_of_adjacencies():
  graphs = [random_graph(seed, "float") for seed in range(3)]
  matrices = jnp.stack([graph_lib.adjacency(graph) for graph in graphs])
  found = all_pairs.all_pairs_distances(matrices)
  for at, graph in enumerate(graphs):
    np.testing.assert_array_equal(
      found[at], all_pairs.all_pairs_distances(graph)
    )


def test_corner_groups():
  steps, names = random_groups.corner_steps()

  @jax.jit
  def run(steps):
    graph = graph_lib.build_graph(steps, max_nodes=9)
    found = all_pairs.all_pairs_distances(graph)
    return graph_lib.adjacency(graph), found

  for at, name in enumerate(names):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
    matrix, found = run(one)
    expected = floyd_warshall(matrix)
    np.testing.assert_array_equal(found, expected, err_msg=name)


def test_memory_is_refused_before_anything_is_made():
  assert all_pairs.all_pairs_bytes(1000) == 13_000_000
  assert all_pairs.all_pairs_bytes(1000, batch=8) == 104_000_000
  # 10^6 nodes: were anything allocated, this would not come back.
  graph = graph_lib.StateGraph(
    source=jnp.zeros(1, jnp.int32),
    target=jnp.zeros(1, jnp.int32),
    cost=jnp.zeros(1),
    mask=jnp.zeros(1, bool),
    node_mask=jnp.zeros(10**6, bool),
    num_nodes=jnp.int32(1),
    overflow=jnp.int32(0),
  )
  with pytest.raises(ValueError, match="13000000000000 bytes.*4294967296"):
    all_pairs.all_pairs_distances(graph)
  small = jnp.ones((2, 10, 10))
  with pytest.raises(ValueError, match="2600 bytes.*memory_limit=2599"):
    all_pairs.all_pairs_distances(small, memory_limit=2599)
  all_pairs.all_pairs_distances(small, memory_limit=2600)
  with pytest.raises(ValueError, match="square|N, N"):
    all_pairs.all_pairs_distances(jnp.ones((3, 4)))


@pytest.mark.parametrize("shape", [(256, 256), (500, 500), (3, 300, 300)])
def test_memory_is_as_stated(shape):
  compiled = (
    jax.jit(all_pairs.all_pairs_distances)
    .lower(jax.ShapeDtypeStruct(shape, jnp.float32))
    .compile()
    .memory_analysis()
  )
  taken = (
    compiled.argument_size_in_bytes
    + compiled.output_size_in_bytes
    + compiled.temp_size_in_bytes
  )
  stated = all_pairs.all_pairs_bytes(shape[-1], math.prod(shape[:-2]))
  blocks = 2 * 16 * 4 * shape[-1] * math.prod(shape[:-2])
  assert 0.75 * stated < taken <= stated + blocks + 4096


def test_no_gradient():
  graph = random_graph(3, "dyadic")

  def total(cost):
    found = all_pairs.all_pairs_distances(graph.replace(cost=cost))
    return jnp.sum(jnp.where(jnp.isfinite(found), found, 0.0))

  value, gradient = jax.jit(jax.value_and_grad(total))(graph.cost)
  assert value > 0 and not gradient.any()


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  steps, _ = random_groups.batch(range(8), kind="float", max_states=9)

  def function(steps):
    graph = graph_lib.build_graph(steps, max_nodes=10)
    return all_pairs.all_pairs_distances(graph)

  expected = transforms.reference(function, steps)
  run = transforms.TRANSFORMS[transform](function)
  transforms.assert_same(run(steps), expected)
