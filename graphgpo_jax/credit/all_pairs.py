"""Distance from every node to every other node, by min-plus squaring.

Credit needs the one column SUCCESS, which `shortest_distances` finds in a
fraction of the time and memory. All pairs are for research: how far apart
states are, which of them a rollout could have passed through, subgoals.
"""

import math

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import min_plus

MEMORY_LIMIT = 4 * 2**30  # bytes

# Per entry: the costs, a product and what it is of, and a mask.
_ENTRY_BYTES = 4 + 4 + 4 + 1


def all_pairs_bytes(num_nodes: int, batch: int = 1) -> int:
  """Memory that `all_pairs_distances` takes, its result included.

  13 N^2 bytes: three float32 matrices (the costs, a product and what it is of)
  and a mask. Blocks of `min_plus.product` come to a few hundred bytes a node
  more; what another product holds for itself is not in it.

  Args:
    num_nodes: N, of each graph.
    batch: graphs worked on at a time.

  Returns:
    Bytes.
  """
  return _ENTRY_BYTES * batch * num_nodes**2


def all_pairs_distances(
  graph: graph_lib.StateGraph | chex.Array,
  *,
  product: min_plus.Product = min_plus.product,
  memory_limit: int = MEMORY_LIMIT,
) -> chex.Array:
  """Shortest distance from every node to every node.

  D_1 = min(A, 0 on the diagonal),  D_2k[i, j] = min over m (D_k[i, m] +
  D_k[m, j])

  D_k knows the ways of at most k edges and none needs more than N - 1, so
  ceil(log2(N - 1)) products suffice; it stops at the first that changes
  nothing. O(N^3) each.

  Where sums of costs round, a way is added up in another order here than in
  `shortest_distances`: the column SUCCESS agrees with it to rounding, and bit
  for bit where they do not round (whole numbers, multiples of 1/8).

  Args:
    graph: StateGraph with N nodes, or its `adjacency`, float32 [..., N, N]:
      cost of the edge from row to column, +inf where there is none. Costs of
      at least 0.
    product: min-plus product to square with.
    memory_limit: bytes. Under `jax.vmap` only one graph is seen: give it the
      share of one, or call it on the batch of adjacencies itself.

  Returns:
    float32 [..., N, N], in cost units: from row to column, 0 on the diagonal
    (of padding nodes, too), +inf where there is no way. No gradient flows
    through it.

  Raises:
    ValueError: it would take more than `memory_limit`, or the adjacency is
      not square. Nothing has been allocated then.
  """
  if isinstance(graph, graph_lib.StateGraph):
    shape = (graph.node_mask.shape[0],) * 2
  else:
    shape = graph.shape
  if len(shape) < 2 or shape[-1] != shape[-2]:
    raise ValueError(f"adjacency must have shape [..., N, N], got {shape}")
  num_nodes = shape[-1]
  batch = math.prod(shape[:-2])
  needed = all_pairs_bytes(num_nodes, batch)
  if needed > memory_limit:
    raise ValueError(
      f"all pairs of {batch} x {num_nodes} nodes take {needed} bytes, more than"
      f" memory_limit={memory_limit}"
    )
  if isinstance(graph, graph_lib.StateGraph):
    costs = graph_lib.adjacency(graph)
  else:
    costs = jax.lax.stop_gradient(graph)
  chex.assert_type(costs, jnp.float32)
  distance = jnp.where(jnp.eye(num_nodes, dtype=bool), 0.0, costs)

  def improving(carry):
    _, changed, squarings = carry
    return changed & (squarings < max(num_nodes - 2, 0).bit_length())

  def square(carry):
    distance, _, squarings = carry
    # A way via its own end is the way itself, so no distance ever grows.
    shorter = product(distance, distance)
    return shorter, jnp.any(shorter < distance), squarings + 1

  # True, but varying over a mesh as the costs do: `jax.shard_map` wants a
  # loop's carry to start as what it becomes.
  start = jnp.any(distance < jnp.inf)
  distance, _, _ = jax.lax.while_loop(
    improving, square, (distance, start, jnp.int32(0))
  )
  return distance
