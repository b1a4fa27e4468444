import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from graphgpo_jax.credit import distances, frontier, in_edges, sharded
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import large_graphs, random_groups

SIZES = (1, 2, 4, 8)
NUM_NODES = large_graphs.NUM_NODES
NUM_EDGES = large_graphs.NUM_EDGES

edge_distances = jax.jit(distances.edge_distances)
relax = jax.jit(
  lambda graph: frontier.relax(in_edges.in_edges(graph), chunks=(7,))
)
build_graph = jax.jit(functools.partial(graph_lib.build_graph, max_nodes=9))


@functools.cache
def mesh_of(number, name="edge"):
  return jax.make_mesh((number,), (name,), axis_types=(AxisType.Auto,))


def assert_same_bits(actual, expected):
  np.testing.assert_array_equal(
    np.asarray(actual).view(np.uint32), np.asarray(expected).view(np.uint32)
  )


@pytest.mark.parametrize(
  ("number", "chunk"), [(1, 5), (2, 5), (4, 5), (8, 5), (8, sharded.CHUNK)]
)
def test_equals_unsharded_bit_for_bit(number, chunk):
  """Their 241 edges divide by none of the meshes but one."""
  reached = 0
  kinds = random_groups.COST_KINDS
  for seed, shape in enumerate(large_graphs.SHAPES * 4):
    kind = kinds[seed // 6 % len(kinds)]
    graph = large_graphs.random_graph(seed, shape, kind)
    expected = edge_distances(graph)
    found = sharded.relax_sharded(
      graph, mesh=mesh_of(number), axis="edge", chunk=chunk
    )
    assert_same_bits(found.distance, expected)
    assert found.relaxed.shape == (number,)
    reached += np.isfinite(expected[1:]).sum()
    if shape.startswith("no "):
      assert found.sweeps == 1 and not found.relaxed.any()
  assert reached > 200


def test_work_is_the_same_on_every_mesh():
  """An edge is relaxed as often as its target drops, wherever it is."""
  for shape, kind in (("walks", "unit"), ("walks", "float"), ("star", "float")):
    graph = large_graphs.random_graph(3, shape, kind)
    work, sweeps = [], []
    for number in SIZES:
      found = sharded.relax_sharded(
        graph, mesh=mesh_of(number), axis="edge", chunk=5
      )
      work.append(int(np.sum(np.asarray(found.relaxed))))
      sweeps.append(int(found.sweeps))
    assert len(set(work)) == len(set(sweeps)) == 1
    assert work[0] > 100
    if kind == "unit":
      alone = relax(graph)
      assert work[0] == alone.relaxed


@pytest.mark.parametrize("number", SIZES)
def test_work_on_a_chain_is_linear(number):
  graph = large_graphs.chain(59, parallel=4, cost=0.5)
  graph = sharded.pad_edges(graph, multiple=NUM_EDGES)
  found = sharded.relax_sharded(
    graph, mesh=mesh_of(number), axis="edge", chunk=5
  )
  np.testing.assert_array_equal(found.distance, np.arange(60) / 2)
  assert np.sum(np.asarray(found.relaxed)) == 4 * 59
  # One per state and one for SUCCESS, the last of which brings nothing closer.
  assert found.sweeps == 60


def test_one_state_of_many_edges_is_shared_and_fills_many_chunks():
  source = np.ones(NUM_EDGES)
  cost = 1 + np.random.default_rng(0).random(NUM_EDGES)
  graph = large_graphs.graph_of(source, 0 * source, cost, NUM_NODES)
  found = sharded.relax_sharded(graph, mesh=mesh_of(4), axis="edge", chunk=5)
  assert found.distance[1] == np.min(cost).astype(np.float32)
  assert found.relaxed.tolist() == [61, 61, 61, 58]


def test_under_jit_on_one_axis_of_two():
  mesh = jax.make_mesh(
    (2, 4), ("group", "edge"), axis_types=(AxisType.Auto,) * 2
  )
  graph = large_graphs.random_graph(7, "walks", "float")
  expected = edge_distances(graph)
  assert np.isfinite(expected).sum() > 10
  function = functools.partial(
    sharded.sharded_distances, mesh=mesh, axis="edge"
  )
  assert_same_bits(jax.jit(function)(graph), expected)


def test_with_edges_placed_on_the_mesh_before():
  mesh = mesh_of(8)
  graph = large_graphs.random_graph(7, "walks", "float")
  expected = edge_distances(graph)
  padded = sharded.pad_edges(graph, multiple=8)
  place = functools.partial(
    jax.device_put, device=NamedSharding(mesh, PartitionSpec("edge"))
  )
  rest = NamedSharding(mesh, PartitionSpec())
  placed = graph_lib.StateGraph(
    source=place(padded.source),
    target=place(padded.target),
    cost=place(padded.cost),
    mask=place(padded.mask),
    node_mask=jax.device_put(padded.node_mask, rest),
    num_nodes=jax.device_put(padded.num_nodes, rest),
    overflow=jax.device_put(padded.overflow, rest),
  )
  found = sharded.relax_sharded(placed, mesh=mesh, axis="edge")
  assert_same_bits(found.distance, expected)
  assert found.distance.sharding.is_fully_replicated
  assert not found.relaxed.sharding.is_fully_replicated


@pytest.mark.slow
def test_no_device_holds_all_edges():
  """A device of 8 takes about an eighth of the memory of one."""
  shapes = {"source": jnp.int32, "target": jnp.int32, "cost": jnp.float32}
  held = []
  for number in (1, 8):
    mesh = mesh_of(number)
    edge = NamedSharding(mesh, PartitionSpec("edge"))
    same = NamedSharding(mesh, PartitionSpec())
    graph = graph_lib.StateGraph(
      node_mask=jax.ShapeDtypeStruct((1000,), bool, sharding=same),
      num_nodes=jax.ShapeDtypeStruct((), jnp.int32, sharding=same),
      overflow=jax.ShapeDtypeStruct((), jnp.int32, sharding=same),
      **{
        name: jax.ShapeDtypeStruct((2**22,), kind, sharding=edge)
        for name, kind in (shapes | {"mask": bool}).items()
      },
    )
    function = functools.partial(
      sharded.sharded_distances, mesh=mesh, axis="edge"
    )
    memory = jax.jit(function).lower(graph).compile().memory_analysis()
    held.append(memory.temp_size_in_bytes + memory.argument_size_in_bytes)
  assert held[1] < held[0] / 7


def test_corner_groups():
  steps, names = random_groups.corner_steps()
  for at, name in enumerate(names):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], steps)
    graph = build_graph(one)
    found = sharded.sharded_distances(graph, mesh=mesh_of(8), axis="edge")
    np.testing.assert_array_equal(found, edge_distances(graph), err_msg=name)


@pytest.mark.parametrize(
  ("number", "padded"), [(0, 0), (1, 4), (8, 8), (9, 12)]
)
def test_pad_edges(number, padded):
  graph = large_graphs.random_graph(0, "random", "float", num_edges=number)
  found = sharded.pad_edges(graph, multiple=4)
  for name, fill in (
    ("source", graph_lib.NO_NODE),
    ("target", graph_lib.NO_NODE),
    ("cost", np.inf),
    ("mask", False),
  ):
    values = np.asarray(getattr(found, name))
    assert values.shape == (padded,)
    np.testing.assert_array_equal(values[:number], getattr(graph, name))
    assert np.all(values[number:] == fill)


def test_no_edges_at_all():
  graph = large_graphs.graph_of(*[np.zeros(0)] * 3, 3)
  found = sharded.relax_sharded(graph, mesh=mesh_of(2), axis="edge")
  assert found.distance.tolist() == [0.0, np.inf, np.inf]


def test_bad_arguments():
  graph = large_graphs.chain(3)
  with pytest.raises(ValueError, match=r"\['edge'\], got 'node'"):
    sharded.relax_sharded(graph, mesh=mesh_of(2), axis="node")
  with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
    sharded.relax_sharded(graph, mesh=mesh_of(2), axis="edge", chunk=0)


def test_no_gradient():
  graph = large_graphs.random_graph(2, "random", "float")

  def total(cost):
    found = sharded.sharded_distances(
      graph.replace(cost=cost), mesh=mesh_of(2), axis="edge"
    )
    return jnp.sum(jnp.where(jnp.isfinite(found), found, 0.0))

  value, gradient = jax.jit(jax.value_and_grad(total))(graph.cost)
  assert value > 0 and not gradient.any()
