"""A graph's edges by their target: who leads to a node, in one slice.

Relaxing the edges into a node takes its slice of `source` and `cost`, from
offsets[node] to offsets[node + 1]: the reversed graph in compressed rows.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib

# All edges twice must stay within int32: a node's edges may wait in a queue
# for a second turn before they had all of their first.
MAX_EDGES = 2**30 - 1


@chex.dataclass(frozen=True)
class InEdges:
  """Edges of one graph, sorted by their target.

  8 bytes an edge and 4 bytes a node.
  """

  offsets: chex.Array  # int32 [N+1], rising; the last is the number of edges
  source: chex.Array  # int32 [K]; NO_NODE from offsets[N] on
  cost: chex.Array  # float32 [K], at least 0; +inf from offsets[N] on


def in_edges(graph: graph_lib.StateGraph) -> InEdges:
  """Sorts a graph's edges by their target.

  Parallel edges stay. To keep only the cheapest would take a sort by two keys,
  which costs more than it saves: a node's edges are relaxed once for every
  drop of its distance, under unit costs once in all.

  Edges whose cost is below 0 or NaN are left out: along them a distance could
  fall for ever.

  On the way about 9 bytes an edge are held beside the graph and the result.

  Args:
    graph: StateGraph with N nodes and K edges.

  Returns:
    InEdges. Edges into one node keep the graph's order. A graph of no edges
    gets one of padding.

  Raises:
    ValueError: K is 2 ** 30 or more.
  """
  num_edges = graph.source.shape[0]
  num_nodes = graph.node_mask.shape[0]
  if num_edges > MAX_EDGES:
    raise ValueError(f"at most {MAX_EDGES} edges fit, got {num_edges}")
  valid = graph.mask & (graph.cost >= 0)

  def column(values, fill):
    values = jnp.where(valid, values, fill)
    # Nothing can be gathered from no entries at all.
    return values if num_edges else jnp.full((1,), fill, values.dtype)

  target = column(graph.target, num_nodes)
  source = column(graph.source, graph_lib.NO_NODE)
  cost = column(jax.lax.stop_gradient(graph.cost), jnp.inf)
  degree = jnp.zeros((num_nodes,), jnp.int32).at[target].add(1, mode="drop")
  offsets = jnp.concatenate(
    [jnp.zeros((1,), jnp.int32), jnp.cumsum(degree, dtype=jnp.int32)]
  )
  order = jax.lax.platform_dependent(
    target,
    cpu=lambda keys: packed_order(keys, bound=num_nodes + 1),
    default=_payload_order,
  )
  return InEdges(offsets=offsets, source=source[order], cost=cost[order])


def packed_order(keys: chex.Array, *, bound: int) -> chex.Array:
  """Order that sorts small keys stably, by sorts of single words.

  A word holds some bits of the key above the entry's position, the lowest bits
  of the keys first, as many passes as the keys have bits to place. A CPU sorts
  words several times faster than keys with a payload.

  Args:
    keys: int32 [K], from 0 to `bound` - 1; K at least 1 and below 2 ** 31.
    bound: what every key is below.

  Returns:
    int32 [K], the positions of the keys in rising order, equal keys in theirs.
  """
  num_keys = keys.shape[0]
  position_bits = max((num_keys - 1).bit_length(), 1)
  digit_bits = 32 - position_bits
  position = jnp.arange(num_keys, dtype=jnp.uint32)
  order = position
  for shift in range(0, max((bound - 1).bit_length(), 1), digit_bits):
    digit = (keys[order].astype(jnp.uint32) >> shift) & (2**digit_bits - 1)
    words = jax.lax.sort((digit << position_bits) | position, is_stable=False)
    order = order[words & (2**position_bits - 1)]
  return order.astype(jnp.int32)


def _payload_order(keys: chex.Array) -> chex.Array:
  """As `packed_order`, by one sort that carries the positions along."""
  # 0 * keys: `jax.shard_map` takes the order to vary over the mesh only if
  # what was sorted along did.
  position = jnp.arange(keys.shape[0], dtype=jnp.int32) + 0 * keys
  return jax.lax.sort((keys, position), num_keys=1, is_stable=True)[1]
