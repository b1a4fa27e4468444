"""Distance of every state to SUCCESS, by min-plus iteration on the device.

Forms of one fixed point, d(s) = min over edges (c + d(s')), d(SUCCESS) = 0:
`edge_distances` relaxes the edge list (scatter-min), `dense_distances`
multiplies the padded adjacency tensor with the distance vector in the min-plus
semiring, `adaptive_distances` goes on from the frontier where a large graph is
deep. All take the minimum over the same float32 sums, so they agree bit for
bit.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import frontier
from graphgpo_jax.credit import graph as graph_lib

StateGraph = graph_lib.StateGraph

# Past this many nodes the [N, N] tensor costs more memory traffic than the
# edges do on any platform; see BUILD_NOTES.md, "Distances".
DENSE_NODE_LIMIT = 256
# From this many edges on, a CPU looks whether a frontier saves sweeps: below,
# compiling it costs more than it could save.
FRONTIER_EDGE_LIMIT = 2**16
# Sweeps over all edges take as long as sorting them once for the frontier.
_SWEEPS_BEFORE_FRONTIER = 32


def _iterate(
  sweep: Callable[[chex.Array], chex.Array],
  num_nodes: int,
  *,
  max_sweeps: int | None = None,
) -> tuple[chex.Array, chex.Array]:
  """Applies `sweep` to the distances until nothing changes.

  Returns:
    float32 [N], and bool []: `max_sweeps` were made and the last one changed
    something.
  """
  start = jnp.full((num_nodes,), jnp.inf, jnp.float32)
  start = start.at[graph_lib.SUCCESS].set(0.0)
  # A shortest path has fewer edges than there are nodes, so this bound only
  # ever stops what costs below 0 would keep going.
  limit = num_nodes if max_sweeps is None else min(max_sweeps, num_nodes)

  def improving(carry):
    _, changed, sweeps = carry
    return changed & (sweeps < limit)

  def body(carry):
    distance, _, sweeps = carry
    closer = sweep(distance)
    return closer, jnp.any(closer < distance), sweeps + 1

  # The first sweep stands outside, so that under `jax.shard_map` the carry is
  # a value of each device from the start.
  first = sweep(start)
  distance, changed, _ = jax.lax.while_loop(
    improving, body, (first, jnp.any(first < start), jnp.int32(1))
  )
  return jax.lax.stop_gradient(distance), changed


def _edge_sweep(graph: StateGraph) -> Callable[[chex.Array], chex.Array]:
  """Relaxation of all edges at once."""
  num_nodes = graph.node_mask.shape[0]
  source = jnp.where(graph.mask, graph.source, num_nodes)
  target = jnp.where(graph.mask, graph.target, 0)

  def sweep(distance):
    through = jnp.where(graph.mask, graph.cost + distance[target], jnp.inf)
    return distance.at[source].min(through, mode="drop")

  return sweep


def edge_distances(graph: StateGraph) -> chex.Array:
  """Shortest distance of every node to SUCCESS by edge relaxation.

  Each sweep costs O(K) for K edges; there are as many sweeps as the longest
  shortest path has edges, plus one.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached.
  """
  return _iterate(_edge_sweep(graph), graph.node_mask.shape[0])[0]


def adaptive_distances(
  graph: StateGraph, *, max_sweeps: int = _SWEEPS_BEFORE_FRONTIER
) -> chex.Array:
  """Shortest distance of every node, for a large graph of unknown depth.

  Where success is near, a few sweeps over all edges are done before the edges
  would be sorted; where it is far, sweeping all of them once per step of the
  longest way takes many times as long as `frontier.frontier_distances`. So
  sweeps come first, and the frontier takes over where they were too few.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.
    max_sweeps: sweeps before the frontier, at least 1.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached. The same
    bits as `edge_distances`.

  Raises:
    ValueError: `max_sweeps` is below 1, or there are 2 ** 30 edges or more.
  """
  if max_sweeps < 1:
    raise ValueError(f"max_sweeps must be at least 1, got {max_sweeps}")
  distance, unfinished = _iterate(
    _edge_sweep(graph), graph.node_mask.shape[0], max_sweeps=max_sweeps
  )
  return jax.lax.cond(
    unfinished,
    lambda: frontier.frontier_distances(graph),
    lambda: distance,
  )


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

  return _iterate(sweep, matrix.shape[0])[0]


def shortest_distances(
  graph: StateGraph, *, method: str = "auto"
) -> chex.Array:
  """Shortest distance of every node to SUCCESS.

  Args:
    graph: StateGraph with N nodes and costs of at least 0.
    method: "edges", "dense", "adaptive" or "auto". On CPU that is edges, and
      adaptive from `FRONTIER_EDGE_LIMIT` edges on; on other platforms dense up
      to `DENSE_NODE_LIMIT` nodes, edges beyond.

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
  if method == "adaptive":
    return adaptive_distances(graph)
  if method != "auto":
    raise ValueError(
      f'method must be "auto", "edges", "dense" or "adaptive", got {method!r}'
    )
  on_cpu, elsewhere = edge_distances, edge_distances
  if graph.mask.shape[0] >= FRONTIER_EDGE_LIMIT:
    on_cpu = adaptive_distances
  if graph.node_mask.shape[0] <= DENSE_NODE_LIMIT:
    elsewhere = dense_distances
  if on_cpu is elsewhere:
    return on_cpu(graph)
  return jax.lax.platform_dependent(graph, cpu=on_cpu, default=elsewhere)


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
