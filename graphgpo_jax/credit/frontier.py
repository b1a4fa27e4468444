"""Distance to SUCCESS on one large graph, at the cost of what still changes.

`edge_distances` relaxes all K edges in every sweep, as many times as the
longest shortest path has edges. Here a node whose distance drops joins a queue
and only the edges into queued nodes are relaxed, so the whole takes O(K) where
no distance drops twice, which is so under unit costs, whatever the depth. At
worst, with costs that let distances drop again and again, it is O(N K) like the
sweeps. The sort that comes first costs as much as a number of sweeps over all
edges: this is for long ways, not for rollouts of a few steps.

A distance is the least sum over ways to SUCCESS, each added up from its end in
float32. Adding a cost of at least 0 keeps the order of two sums and makes none
smaller, so whatever order the edges are relaxed in, the result is the same bit
for bit, that of `edge_distances` among them.

It is for one large graph. Under `jax.vmap` every turn would copy all state of
all graphs: map over groups with `jax.lax.map`.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import in_edges as in_edges_lib

InEdges = in_edges_lib.InEdges

# Edges relaxed per turn: many where many wait, few on a narrow front, where a
# wide turn would mostly idle.
CHUNKS = (64, 512, 4096)

COUNT_LIMIT = 2**30  # relaxed edges are counted up to here at least

# A node's ticket while it stands in the queue, and while it does not.
_QUEUED = -1
_FREE = jnp.iinfo(jnp.int32).max


@chex.dataclass(frozen=True)
class Relaxation:
  """Distances, and the work they took."""

  distance: chex.Array  # float32 [N], in cost units; +inf: no way to SUCCESS
  relaxed: chex.Array  # int32 [], edges relaxed; stops counting past 2^30
  turns: chex.Array  # int32 [], chunks worked off


class Slots(NamedTuple):
  """A chunk of edges into the first nodes of a list; C slots, C nodes."""

  valid: chex.Array  # bool [C], the slot has an edge
  edge: chex.Array  # int32 [C], index into InEdges; 0 where not valid
  node: chex.Array  # int32 [C], place in the list of the edge's target
  started: chex.Array  # bool [C], an edge of the list's node has a slot
  taken: chex.Array  # int32 [], valid slots
  finished: chex.Array  # int32 [], nodes of the list with no edge left
  done: chex.Array  # int32 [], edges of the next node that had their turn


class _State(NamedTuple):
  """What a turn works on; 12 bytes a node.

  The queue is a ring that each node stands in at most once; one more entry is
  for the head, which may join again while its edges are still being relaxed.
  """

  distance: chex.Array  # float32 [N]
  ticket: chex.Array  # int32 [N], _QUEUED, _FREE, or in a turn the least slot
  queue: chex.Array  # int32 [N+1], nodes, the oldest at `head`
  head: chex.Array  # int32 []
  length: chex.Array  # int32 [], queued nodes
  done: chex.Array  # int32 [], edges of the head that had their turn
  pending: chex.Array  # int32 [], edges of queued nodes still to relax
  relaxed: chex.Array  # int32 []
  turns: chex.Array  # int32 []


def fill_slots(
  edges: InEdges, nodes: chex.Array, number: chex.Array, done: chex.Array
) -> Slots:
  """Lays the edges into listed nodes, node after node, into C slots.

  Args:
    edges: InEdges of N nodes and K edges.
    nodes: int32 [C], a list of nodes with at least one edge each; entries past
      its end must be nodes, too, and do not count.
    number: int32 [], nodes in the list; more than C is as good as C.
    done: int32 [], edges of the first node to leave out, below its degree.

  Returns:
    Slots, C of them.
  """
  chunk = nodes.shape[0]
  place = jnp.arange(chunk, dtype=jnp.int32)
  listed = place < number
  first = edges.offsets[nodes] + jnp.where(place == 0, done, 0)
  degree = jnp.where(listed, edges.offsets[nodes + 1] - first, 0)
  ends = jnp.cumsum(degree, dtype=jnp.int32)
  starts = ends - degree
  started = listed & (starts < chunk)
  # Each node marks its first slot; the slots after it belong to it as well.
  node = jax.lax.cummax(
    jnp.zeros((chunk,), jnp.int32)
    .at[jnp.where(started, starts, chunk)]
    .set(place, mode="drop")
  )
  taken = jnp.minimum(ends[-1], chunk)
  valid = place < taken
  finished = jnp.sum(listed & (ends <= chunk), dtype=jnp.int32)
  # The node that ran out of slots, if there is one.
  cut = jnp.minimum(finished, chunk - 1)
  left_over = (finished < chunk) & (starts[cut] < taken)
  before = jnp.where(cut == 0, done, 0)
  return Slots(
    valid=valid,
    edge=jnp.where(valid, first[node] + place - starts[node], 0),
    node=node,
    started=started,
    taken=taken,
    finished=finished,
    done=jnp.where(left_over, before + taken - starts[cut], 0),
  )


def _turn(edges: InEdges, state: _State, *, chunk: int) -> _State:
  """Relaxes up to `chunk` edges from the head of the queue."""
  num_nodes = state.distance.shape[0]
  size = state.queue.shape[0]
  place = jnp.arange(chunk, dtype=jnp.int32)
  nodes = state.queue[(state.head + place) % size]
  slots = fill_slots(edges, nodes, state.length, state.done)
  ticket = state.ticket.at[jnp.where(slots.started, nodes, num_nodes)].set(
    _FREE, mode="drop"
  )
  source = edges.source[slots.edge]
  through = edges.cost[slots.edge] + state.distance[nodes][slots.node]
  closer = slots.valid & (through < state.distance[source])
  moved = jnp.where(closer, source, num_nodes)
  # Of all slots that bring one node closer, the first puts it in the queue.
  ticket = ticket.at[moved].min(place, mode="drop")
  joins = closer & (ticket[source] == place)
  joined = jnp.where(joins, source, num_nodes)
  ticket = ticket.at[joined].set(_QUEUED, mode="drop")
  degree = edges.offsets[source + 1] - edges.offsets[source]
  joins &= degree > 0
  rank = jnp.cumsum(joins, dtype=jnp.int32)
  behind = (state.head + state.length + rank - 1) % size
  return _State(
    distance=state.distance.at[moved].min(through, mode="drop"),
    ticket=ticket,
    queue=state.queue.at[jnp.where(joins, behind, size)].set(
      source, mode="drop", unique_indices=True
    ),
    head=(state.head + slots.finished) % size,
    length=state.length - slots.finished + rank[-1],
    done=slots.done,
    pending=state.pending
    - slots.taken
    + jnp.sum(jnp.where(joins, degree, 0), dtype=jnp.int32),
    relaxed=count(state.relaxed, slots.taken),
    turns=state.turns + 1,
  )


def count(relaxed: chex.Array, taken: chex.Array) -> chex.Array:
  """Adds to a count that stops at its limit rather than wrap round."""
  return jnp.where(relaxed < COUNT_LIMIT, relaxed + taken, relaxed)


def check_chunks(chunks: tuple[int, ...]) -> None:
  """Raises ValueError unless `chunks` are sizes in rising order."""
  if (
    not chunks
    or chunks[0] < 1
    or any(
      wide <= narrow for narrow, wide in zip(chunks, chunks[1:], strict=False)
    )
  ):
    raise ValueError(f"chunks must rise from at least 1, got {chunks}")


def relax(edges: InEdges, *, chunks: tuple[int, ...] = CHUNKS) -> Relaxation:
  """Shortest distance of every node to SUCCESS, over edges by their target.

  d(s) = min over edges (s, s') of (c + d(s')), d(SUCCESS) = 0

  Nodes whose distance dropped wait in a first-in-first-out queue. A turn takes
  the next edges into the nodes at its head, as many as a chunk holds, whatever
  their degrees: a node may share a chunk with others or fill many.

  Args:
    edges: InEdges with N nodes and K edges, K at least 1.
    chunks: edges relaxed per turn, in rising order: a turn has the least size
      that holds all edges that wait, or the largest.

  Returns:
    Relaxation. No gradient flows through it.

  Raises:
    ValueError: `chunks` do not rise from at least 1.
  """
  check_chunks(chunks)
  num_nodes = edges.offsets.shape[0] - 1
  # 0, but varying over a mesh as the edges do: `jax.shard_map` wants a loop's
  # carry to start as what it becomes.
  zero = edges.offsets[0]
  start = jnp.full((num_nodes,), jnp.inf, jnp.float32)
  start = start.at[graph_lib.SUCCESS].set(0.0) + zero
  edges = jax.tree.map(jax.lax.stop_gradient, edges)
  pending = edges.offsets[graph_lib.SUCCESS + 1]
  pending -= edges.offsets[graph_lib.SUCCESS]
  state = _State(
    distance=start,
    ticket=jnp.full((num_nodes,), _FREE, jnp.int32) + zero,
    queue=jnp.full((num_nodes + 1,), graph_lib.SUCCESS, jnp.int32) + zero,
    head=zero,
    length=zero + (pending > 0),
    done=zero,
    pending=pending,
    relaxed=zero,
    turns=zero,
  )
  limits = [0, *chunks[:-1], in_edges_lib.MAX_EDGES * 2]

  def waiting(state, *, above, up_to):
    return (state.pending > above) & (state.pending <= up_to)

  # A loop per size, not a branch per turn: a branch would copy the state.
  def each_size(state):
    for size, above, up_to in zip(chunks, limits, limits[1:], strict=False):
      state = jax.lax.while_loop(
        functools.partial(waiting, above=above, up_to=up_to),
        functools.partial(_turn, edges, chunk=size),
        state,
      )
    return state

  state = jax.lax.while_loop(lambda state: state.pending > 0, each_size, state)
  return Relaxation(
    distance=state.distance, relaxed=state.relaxed, turns=state.turns
  )


def frontier_distances(
  graph: graph_lib.StateGraph,
  *,
  chunks: tuple[int, ...] = CHUNKS,
) -> chex.Array:
  """Shortest distance of every node to SUCCESS, frontier by frontier.

  One sort of the edges by their target, then work that follows the edges whose
  target comes closer; see `relax`, which also counts them. Beside the graph it
  takes 16 bytes an edge and 20 a node: 360 MB for 10^7 of each.

  Args:
    graph: StateGraph with N nodes and costs of at least 0; edges of another
      cost (below 0, NaN) are left out.
    chunks: edges relaxed per turn, in rising order: a turn has the least size
      that holds all edges that wait, or the largest.

  Returns:
    float32 [N], in cost units; +inf where SUCCESS cannot be reached. The same
    bits as `edge_distances`. No gradient flows through it.

  Raises:
    ValueError: `chunks` do not rise from at least 1, or there are 2 ** 30
      edges or more.
  """
  edges = in_edges_lib.in_edges(graph)
  return relax(edges, chunks=chunks).distance
