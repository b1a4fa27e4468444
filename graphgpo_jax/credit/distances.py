"""Distance of every state to SUCCESS, by min-plus iteration on the device.

Two forms of one fixed point, d(s) = min over edges (c + d(s')), d(SUCCESS)=0:
`edge_distances` relaxes the edge list (scatter-min), `dense_distances`
multiplies the padded adjacency tensor with the distance vector in the min-plus
semiring. Both take the minimum over the same float32 sums in every sweep, so
they agree bit for bit.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib

StateGraph = graph_lib.StateGraph

# Past this many nodes the [N, N] tensor costs more memory traffic than the
# edges do on any platform; see BUILD_NOTES.md, "Distances".
DENSE_NODE_LIMIT = 256


def _iterate(
  sweep: Callable[[chex.Array], chex.Array], num_nodes: int
) -> chex.Array:
  """Applies `sweep` to the distances until nothing changes."""
  start = jnp.full((num_nodes,), jnp.inf, jnp.float32)
  start = start.at[graph_lib.SUCCESS].set(0.0)

  def improving(carry):
    _, changed, sweeps = carry
    # A shortest path has fewer edges than there are nodes, so this bound only
    # ever stops what costs below 0 would keep going.
    return changed & (sweeps < num_nodes)

  def body(carry):
    distance, _, sweeps = carry
    closer = sweep(distance)
    return closer, jnp.any(closer < distance), sweeps + 1

  # The first sweep stands outside, so that under `jax.shard_map` the carry is
  # a value of each device from the start.
  first = sweep(start)
  distance, _, _ = jax.lax.while_loop(
    improving, body, (first, jnp.any(first < start), jnp.int32(1))
  )
  return jax.lax.stop_gradient(distance)


def edge_distances(graph: StateGraph) -> chex.Array:
  """Shortest distance of every node to SUCCESS by edge relaxation.

  Each sweep costs O(K) for K edges; there are as many sweeps as the longest
  shortest path has edges, plus one.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached.
  """
  num_nodes = graph.node_mask.shape[0]
  source = jnp.where(graph.mask, graph.source, num_nodes)
  target = jnp.where(graph.mask, graph.target, 0)

  def sweep(distance):
    through = jnp.where(graph.mask, graph.cost + distance[target], jnp.inf)
    return distance.at[source].min(through, mode="drop")

  return _iterate(sweep, num_nodes)


def dense_distances(graph: StateGraph) -> chex.Array:
  """Shortest distance of every node to SUCCESS by min-plus products.

  d <- min(d, min_j (A[i, j] + d[j])), O(N^2) per sweep and without scatter.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached.
  """
  matrix = graph_lib.adjacency(graph)

  def sweep(distance):
    return jnp.minimum(distance, jnp.min(matrix + distance[None, :], axis=1))

  return _iterate(sweep, matrix.shape[0])


def shortest_distances(
  graph: StateGraph, *, method: str = "auto"
) -> chex.Array:
  """Shortest distance of every node to SUCCESS.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.
    method: "edges", "dense", or "auto": edges on CPU at every size, dense on
      other platforms up to `DENSE_NODE_LIMIT` nodes, edges beyond.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached. No
    gradient flows through it. The same bits whatever the method.

  Raises:
    ValueError: `method` is none of these.
  """
  if method == "edges":
    return edge_distances(graph)
  if method == "dense":
    return dense_distances(graph)
  if method != "auto":
    raise ValueError(
      f'method must be "auto", "edges" or "dense", got {method!r}'
    )
  if graph.node_mask.shape[0] > DENSE_NODE_LIMIT:
    return edge_distances(graph)
  return jax.lax.platform_dependent(
    graph, cpu=edge_distances, default=dense_distances
  )


def finite_distances(
  distance: chex.Array, *, margin: float = 1.0
) -> chex.Array:
  """Replaces +inf by a distance just beyond the farthest reachable state.

  d = max over finite d + margin where unreachable. A group without success
  has only the sink at 0, so every state gets `margin`.

  Args:
    distance: float32 [N], with at least one finite entry.
    margin: what an unreachable state adds, in cost units.

  Returns:
    float32 [N], in cost units, all finite.

  Reference: arXiv 2605.26684 and its authors' recipe.
  """
  chex.assert_rank(distance, 1)
  reachable = jnp.isfinite(distance)
  farthest = jnp.max(jnp.where(reachable, distance, 0.0))
  return jax.lax.stop_gradient(
    jnp.where(reachable, distance, farthest + margin)
  )


def distance_method(method: str) -> Callable[[StateGraph], chex.Array]:
  """`shortest_distances` with its method fixed, to pass as a strategy."""
  return functools.partial(shortest_distances, method=method)
