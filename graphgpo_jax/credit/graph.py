"""State-transition graph of one group: steps become edges between states.

All rollouts of a group share one set of nodes. Node SUCCESS = 0 is the sink
that the last step of every successful rollout leads to; states count from 1.
"""

import chex
import jax
import jax.numpy as jnp

NO_NODE = -1
SUCCESS = 0


@chex.dataclass(frozen=True)
class Nodes:
  """Node ids of a list of fingerprints."""

  ids: chex.Array  # int32 [K], 1..N-1; NO_NODE in padding and past the limit
  num_nodes: chex.Array  # int32 [], distinct states that got an id, plus sink
  overflow: chex.Array  # int32 [], entries that got no id: limit reached


@chex.dataclass(frozen=True)
class Steps:
  """Logged steps of one group, one entry a step.

  The steps of a rollout stand together and in order of time; padding may stand
  anywhere but inside a rollout. What is true of a rollout (its return, its
  success) is repeated on each of its steps.
  """

  source: chex.Array  # int32 [E], node the step starts from
  target: chex.Array  # int32 [E], node it leads to; SUCCESS at a success's end
  cost: chex.Array  # float32 [E], cost of the step, at least 0
  reward: chex.Array  # float32 [E], reward of the step
  episode_return: chex.Array  # float32 [E], return of the step's rollout
  success: chex.Array  # bool [E], the step's rollout succeeded
  last: chex.Array  # bool [E], the step is its rollout's last
  action_valid: chex.Array  # bool [E], the action was admissible
  mask: chex.Array  # bool [E], True where there is a step
  # int32 [E], which action was taken, at least 0; None: not known, an action
  # is then told by where it led (see `action_ids`).
  action: chex.Array | None = None


@chex.dataclass(frozen=True)
class StateGraph:
  """Padded edge list of one group's merged rollouts."""

  source: chex.Array  # int32 [K], NO_NODE in padding
  target: chex.Array  # int32 [K], NO_NODE in padding
  cost: chex.Array  # float32 [K], +inf in padding
  mask: chex.Array  # bool [K], True where there is an edge
  node_mask: chex.Array  # bool [N], True for the sink and each state with an id
  num_nodes: chex.Array  # int32 [], distinct states plus the sink
  overflow: chex.Array  # int32 [], steps left out: a node or edge limit


def node_ids(
  fingerprints: chex.Array, mask: chex.Array, *, max_nodes: int | None = None
) -> Nodes:
  """Numbers distinct fingerprints 1, 2, ... in the order of their lanes.

  Exact: entries are sorted by both lanes and equal neighbours share an id, so
  two entries have one id exactly where both lanes agree. The numbering does
  not depend on the order of the entries.

  Args:
    fingerprints: uint32 [K, 2].
    mask: bool [K], True where valid.
    max_nodes: N, nodes at most, the sink included; K + 1 without it. States
      past the limit get NO_NODE and are counted in `overflow`.

  Returns:
    Nodes, with ids int32 [K].

  Raises:
    ValueError: `max_nodes` leaves no room for a state.
  """
  chex.assert_shape(fingerprints, (None, 2))
  chex.assert_type([fingerprints, mask], [jnp.uint32, bool])
  chex.assert_equal_shape_prefix([fingerprints, mask], 1)
  num_entries = mask.shape[0]
  limit = max(num_entries + 1, 2) if max_nodes is None else max_nodes
  if limit < 2:
    raise ValueError(f"max_nodes must be at least 2, got {max_nodes}")
  padding, high, low, order = jax.lax.sort(
    (
      (~mask).astype(jnp.uint32),
      fingerprints[:, 0],
      fingerprints[:, 1],
      jnp.arange(num_entries, dtype=jnp.int32),
    ),
    num_keys=3,
  )
  valid = padding == 0
  starts = valid & jnp.concatenate(
    [
      jnp.ones((1,), bool),
      (high[1:] != high[:-1]) | (low[1:] != low[:-1]),
    ]
  )
  rank = jnp.cumsum(starts, dtype=jnp.int32)
  fits = valid & (rank < limit)
  ids = jnp.zeros((num_entries,), jnp.int32)
  ids = ids.at[order].set(jnp.where(fits, rank, NO_NODE), unique_indices=True)
  return Nodes(
    ids=ids,
    num_nodes=1 + jnp.sum(starts & fits, dtype=jnp.int32),
    overflow=jnp.sum(valid & ~fits, dtype=jnp.int32),
  )


def known_sources(steps: Steps, *, max_nodes: int) -> chex.Array:
  """Steps whose source is a node: bool [E].

  Args:
    steps: Steps of one group, [E].
    max_nodes: N, node limit; a state past it is no node.

  Returns:
    bool [E], False in padding.
  """
  return steps.mask & (steps.source >= 0) & (steps.source < max_nodes)


def connected_steps(steps: Steps, *, max_nodes: int) -> chex.Array:
  """Steps both of whose ends are nodes, which can be an edge: bool [E].

  Args:
    steps: Steps of one group, [E].
    max_nodes: N, node limit; a state past it is no node.

  Returns:
    bool [E], False in padding.
  """
  known = known_sources(steps, max_nodes=max_nodes)
  return known & (steps.target >= 0) & (steps.target < max_nodes)


def build_graph(
  steps: Steps, *, max_nodes: int, max_edges: int | None = None
) -> StateGraph:
  """Graph of a group: an edge per step, parallel edges kept.

  Args:
    steps: Steps of one group, [E].
    max_nodes: N, nodes at most, the sink included: at least 1 + the largest
      id in `steps`.
    max_edges: K, edges at most; E without it. With a limit, the first K steps
      that have both nodes stay and the others are counted in `overflow`.

  Returns:
    StateGraph. `overflow` counts every step that is no edge of it: one of its
    nodes found no id, or the edge limit was reached.

  Raises:
    ValueError: a limit is below what any graph needs.
  """
  chex.assert_rank([steps.source, steps.target, steps.cost, steps.mask], 1)
  chex.assert_equal_shape([steps.source, steps.target, steps.cost, steps.mask])
  chex.assert_type(
    [steps.source, steps.target, steps.mask], [jnp.int32, jnp.int32, bool]
  )
  if max_nodes < 1:
    raise ValueError(f"max_nodes must be at least 1, got {max_nodes}")
  if max_edges is not None and max_edges < 1:
    raise ValueError(f"max_edges must be at least 1, got {max_edges}")
  connected = connected_steps(steps, max_nodes=max_nodes)
  source = jnp.where(connected, steps.source, NO_NODE)
  target = jnp.where(connected, steps.target, NO_NODE)
  cost = jnp.where(connected, steps.cost, jnp.inf).astype(jnp.float32)
  mask = connected
  if max_edges is not None and max_edges < steps.mask.shape[0]:
    place = jnp.where(connected, jnp.cumsum(connected) - 1, max_edges)

    def keep(values, fill):
      kept = jnp.full((max_edges,), fill, values.dtype)
      return kept.at[place].set(values, mode="drop")

    source, target = keep(source, NO_NODE), keep(target, NO_NODE)
    cost, mask = keep(cost, jnp.inf), keep(mask, False)
  node_mask = jnp.zeros((max_nodes,), bool).at[SUCCESS].set(True)
  for ends in (source, target):
    node_mask = node_mask.at[_index(ends, max_nodes)].set(True, mode="drop")
  return StateGraph(
    source=source,
    target=target,
    cost=cost,
    mask=mask,
    node_mask=node_mask,
    num_nodes=jnp.sum(node_mask, dtype=jnp.int32),
    overflow=jnp.sum(steps.mask, dtype=jnp.int32)
    - jnp.sum(mask, dtype=jnp.int32),
  )


def adjacency(graph: StateGraph) -> chex.Array:
  """Padded adjacency tensor: cost of the cheapest edge between two nodes.

  A[i, j] = min over edges (i, j) of their cost, +inf where there is none.

  Args:
    graph: StateGraph with N nodes.

  Returns:
    float32 [N, N], in cost units.
  """
  num_nodes = graph.node_mask.shape[0]
  matrix = jnp.full((num_nodes, num_nodes), jnp.inf, jnp.float32)
  matrix = matrix.at[
    _index(graph.source, num_nodes), _index(graph.target, num_nodes)
  ].min(graph.cost, mode="drop")
  return jax.lax.stop_gradient(matrix)


def edge_weights(steps: Steps) -> chex.Array:
  """Weight of each step when every distinct edge counts once.

  w = 1 / (number of steps with the same source and target), so the weights of
  an edge's steps add up to 1, in whatever order the rollouts stand.

  Args:
    steps: Steps of one group, [E].

  Returns:
    float32 [E] in [0, 1]; 0 in padding and where a node is missing.
  """
  num_steps = steps.mask.shape[0]
  known = steps.mask & (steps.source >= 0) & (steps.target >= 0)
  padding, source, target, order = jax.lax.sort(
    (
      (~known).astype(jnp.int32),
      steps.source,
      steps.target,
      jnp.arange(num_steps, dtype=jnp.int32),
    ),
    num_keys=3,
  )
  starts = jnp.concatenate(
    [
      jnp.ones((1,), bool),
      (source[1:] != source[:-1])
      | (target[1:] != target[:-1])
      | (padding[1:] != padding[:-1]),
    ]
  )
  edge = jnp.cumsum(starts, dtype=jnp.int32) - 1
  number = jax.ops.segment_sum(
    jnp.ones((num_steps,), jnp.float32), edge, num_steps
  )
  weights = jnp.zeros((num_steps,), jnp.float32)
  weights = weights.at[order].set(1.0 / number[edge], unique_indices=True)
  return jnp.where(known, weights, 0.0)


def action_ids(steps: Steps) -> chex.Array:
  """Which action each step took, int32 [E]; that it led where it led, without.

  Args:
    steps: Steps of one group, [E].

  Returns:
    int32 [E]: `steps.action`, or the target where actions are not known.
  """
  return steps.target if steps.action is None else steps.action


def _index(ids: chex.Array, size: int) -> chex.Array:
  """NO_NODE would wrap to the last node; past the end it is dropped."""
  return jnp.where(ids < 0, size, ids)
