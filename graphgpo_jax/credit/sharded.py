"""Distance to SUCCESS on one graph whose edges are spread over a device mesh.

Every device sorts its own share of the edges by their target and holds all
distances. In a sweep it relaxes those of its edges whose target came closer in
the sweep before; one minimum over the devices then joins what they found. The
memory of the edges is divided by the number of devices, and so is the work,
whatever the degrees: shares are cut by edge, not by node.

The result is that of `edge_distances` bit for bit, since it is the minimum
over the same float32 sums; see `frontier`.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from graphgpo_jax.credit import frontier
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import in_edges as in_edges_lib

CHUNK = 4096


@chex.dataclass(frozen=True)
class ShardedRelaxation:
  """Distances, and the work each of D devices did for them."""

  distance: chex.Array  # float32 [N], in cost units; +inf: no way to SUCCESS
  relaxed: chex.Array  # int32 [D], edges relaxed; stops counting past 2^30
  sweeps: chex.Array  # int32 [], minima over the devices


def pad_edges(
  graph: graph_lib.StateGraph, *, multiple: int
) -> graph_lib.StateGraph:
  """Adds padding edges until their number divides.

  Args:
    graph: StateGraph with K edges.
    multiple: what the number of edges shall be a multiple of.

  Returns:
    StateGraph with K rounded up to `multiple` edges.
  """
  missing = -graph.source.shape[0] % multiple
  if not missing:
    return graph

  def padded(values, fill):
    return jnp.pad(values, (0, missing), constant_values=fill)

  return graph_lib.StateGraph(
    source=padded(graph.source, graph_lib.NO_NODE),
    target=padded(graph.target, graph_lib.NO_NODE),
    cost=padded(graph.cost, jnp.inf),
    mask=padded(graph.mask, False),
    node_mask=graph.node_mask,
    num_nodes=graph.num_nodes,
    overflow=graph.overflow,
  )


def _sweep(
  edges: in_edges_lib.InEdges,
  before: chex.Array,
  dropped: chex.Array,
  chunk: int,
) -> tuple[chex.Array, chex.Array]:
  """Relaxes one device's edges into `dropped` nodes, chunk by chunk.

  Reads the distances `before` the sweep alone, so that an edge is relaxed as
  often as its target drops, whatever the chunks and the number of devices.

  Args:
    edges: InEdges of the device.
    before: float32 [N].
    dropped: bool [N].
    chunk: edges relaxed per turn.

  Returns:
    float32 [N], distances as far as this device's edges tell, and int32 [],
    the number of edges relaxed.
  """
  num_nodes = before.shape[0]
  dropped &= edges.offsets[1:] > edges.offsets[:-1]
  (queue,) = jnp.nonzero(dropped, size=num_nodes, fill_value=0)
  queue = queue.astype(jnp.int32)
  number = jnp.sum(dropped, dtype=jnp.int32)
  place = jnp.arange(chunk, dtype=jnp.int32)

  def turn(carry):
    distance, head, done, relaxed = carry
    nodes = queue[jnp.minimum(head + place, num_nodes - 1)]
    slots = frontier.fill_slots(edges, nodes, number - head, done)
    through = edges.cost[slots.edge] + before[nodes][slots.node]
    moved = jnp.where(slots.valid, edges.source[slots.edge], num_nodes)
    return (
      distance.at[moved].min(through, mode="drop"),
      head + slots.finished,
      slots.done,
      frontier.count(relaxed, slots.taken),
    )

  zero = number * 0
  distance, _, _, relaxed = jax.lax.while_loop(
    lambda carry: carry[1] < number, turn, (before, zero, zero, zero)
  )
  return distance, relaxed


def _on_device(
  graph: graph_lib.StateGraph, *, axis: str, chunk: int
) -> ShardedRelaxation:
  """What one device does, under `jax.shard_map`, with its share of edges."""
  num_nodes = graph.node_mask.shape[0]
  edges = in_edges_lib.in_edges(graph)
  start = jnp.full((num_nodes,), jnp.inf, jnp.float32)
  start = start.at[graph_lib.SUCCESS].set(0.0)

  def body(carry):
    before, dropped, relaxed, sweeps = carry
    found, taken = _sweep(
      edges, jax.lax.pcast(before, axis, to="varying"), dropped, chunk
    )
    distance = jax.lax.pmin(found, axis)
    return (
      distance,
      distance < before,
      frontier.count(relaxed, taken),
      sweeps + 1,
    )

  # Distances are the same on every device, so all leave the loop together; the
  # number of turns within a sweep is each device's own.
  distance, _, relaxed, sweeps = jax.lax.while_loop(
    lambda carry: jnp.any(carry[1]),
    body,
    (start, jnp.isfinite(start), edges.offsets[0], jnp.int32(0)),
  )
  return ShardedRelaxation(
    distance=distance, relaxed=relaxed[None], sweeps=sweeps
  )


@functools.partial(jax.jit, static_argnames=("mesh", "axis", "chunk"))
def _relax(graph, *, mesh, axis, chunk):
  """`relax_sharded` once its arguments are known to be right."""
  graph = pad_edges(graph, multiple=mesh.shape[axis])
  edge, same = PartitionSpec(axis), PartitionSpec()
  specs = graph_lib.StateGraph(
    source=edge,
    target=edge,
    cost=edge,
    mask=edge,
    node_mask=same,
    num_nodes=same,
    overflow=same,
  )
  return jax.shard_map(
    functools.partial(_on_device, axis=axis, chunk=chunk),
    mesh=mesh,
    in_specs=(specs,),
    out_specs=ShardedRelaxation(distance=same, relaxed=edge, sweeps=same),
  )(jax.tree.map(jax.lax.stop_gradient, graph))


def relax_sharded(
  graph: graph_lib.StateGraph, *, mesh: Mesh, axis: str, chunk: int = CHUNK
) -> ShardedRelaxation:
  """Shortest distance of every node to SUCCESS, edges over a mesh axis.

  d(s) = min over edges (s, s') of (c + d(s')), d(SUCCESS) = 0

  As many sweeps as the longest shortest path has edges, plus one. Each takes
  O(N) on every device, to list the nodes that came closer and for the minimum
  over the devices, and its share of their edges.

  Each device holds what `frontier_distances` holds, for K / D edges and all N
  nodes. To never gather the edges in one device's memory, place them before:
  `jax.device_put(pad_edges(graph, multiple=D).source, NamedSharding(mesh,
  PartitionSpec(axis)))`, and so on for target, cost and mask.

  Args:
    graph: StateGraph with N nodes and K edges of cost at least 0; edges of
      another cost (below 0, NaN) are left out. Padding makes K divide.
    mesh: devices, with axes of type Auto.
    axis: the mesh axis of D devices to spread the edges over.
    chunk: edges a device relaxes per turn.

  Returns:
    ShardedRelaxation, `distance` the same on every device. No gradient flows
    through it.

  Raises:
    ValueError: the mesh has no such axis, `chunk` is below 1, or a device's
      share is 2 ** 30 edges or more.
  """
  if axis not in mesh.shape:
    raise ValueError(
      f"axis must be one of the mesh's {list(mesh.shape)}, got {axis!r}"
    )
  if chunk < 1:
    raise ValueError(f"chunk must be at least 1, got {chunk}")
  return _relax(graph, mesh=mesh, axis=axis, chunk=chunk)


def sharded_distances(
  graph: graph_lib.StateGraph, *, mesh: Mesh, axis: str, chunk: int = CHUNK
) -> chex.Array:
  """`relax_sharded` without its counts: float32 [N], in cost units."""
  return relax_sharded(graph, mesh=mesh, axis=axis, chunk=chunk).distance
