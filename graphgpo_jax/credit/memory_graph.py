"""The union of a visit's graph with what is stored of its task.

Stored edges shape distances only: they become edges of a graph of their own,
whose node ids the visit's steps share, and never steps.
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import distances
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import memory as memory_lib

StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps


@chex.dataclass(frozen=True)
class UnionGraph:
  """A visit's steps and its task's stored edges, in the same N node ids."""

  steps: Steps  # [E], the visit's, with the ids of the union
  stored: StateGraph  # K edges, their costs faded
  known: chex.Array  # bool [N], states that an earlier visit has stored
  overflow: chex.Array  # int32 [], states' entries without an id


def union_graph(
  memory: memory_lib.GraphMemory,
  steps: Steps,
  source_key: chex.Array,
  target_key: chex.Array,
  *,
  max_nodes: int | None = None,
  fade: float = 1.0,
  fade_after: int = 0,
) -> UnionGraph:
  """Gives stored and current states ids of one numbering.

  Args:
    memory: GraphMemory of the task, this visit already remembered: an edge
      that it has not taken then is a visit older, and one that it has taken
      has its newest cost.
    steps: Steps of this visit, [E]; of their node ids only SUCCESS counts.
    source_key: uint32 [E, 2], fingerprint of the state each step leaves.
    target_key: uint32 [E, 2], of that it leads to.
    max_nodes: N, node limit, the sink included; room for every state without
      it. Numbering follows the fingerprints, so a limit leaves out current
      states as readily as stored ones.
    fade: see `memory.faded_costs`.
    fade_after: see `memory.faded_costs`.

  Returns:
    UnionGraph. With an empty memory the ids are those that the steps have
    alone.
  """
  chex.assert_rank([steps.mask, memory.mask], 1)
  chex.assert_shape([source_key, target_key], (*steps.mask.shape, 2))
  to_success = steps.mask & (steps.target == graph_lib.SUCCESS)
  number, room = steps.mask.shape[0], memory.mask.shape[0]
  limit = 2 * (number + room) + 1 if max_nodes is None else max_nodes
  nodes = graph_lib.node_ids(
    jnp.concatenate([memory.source, memory.target, source_key, target_key]),
    jnp.concatenate(
      [
        memory.mask,
        memory.mask & ~memory.to_success,
        steps.mask,
        steps.mask & ~to_success,
      ]
    ),
    max_nodes=limit,
  )
  ends = jnp.split(nodes.ids, [room, 2 * room, 2 * room + number])
  stored_source, stored_target, source, target = ends
  stored_target = jnp.where(memory.to_success, graph_lib.SUCCESS, stored_target)
  cost = memory_lib.faded_costs(memory, fade=fade, fade_after=fade_after)
  mask = (
    memory.mask
    & (stored_source >= 0)
    & (stored_target >= 0)
    & jnp.isfinite(cost)
  )
  stored_source = jnp.where(mask, stored_source, graph_lib.NO_NODE)
  stored_target = jnp.where(mask, stored_target, graph_lib.NO_NODE)
  node_mask = _nodes_of(stored_source, stored_target, limit)
  earlier = mask & (memory.first < memory.visits)
  return UnionGraph(
    steps=steps.replace(  # type: ignore[attr-defined]
      source=source,
      target=jnp.where(to_success, graph_lib.SUCCESS, target),
    ),
    stored=StateGraph(
      source=stored_source,
      target=stored_target,
      cost=jnp.where(mask, cost, jnp.inf),
      mask=mask,
      node_mask=node_mask,
      num_nodes=jnp.sum(node_mask, dtype=jnp.int32),
      overflow=jnp.sum(memory.mask & ~mask, dtype=jnp.int32),
    ),
    known=_nodes_of(
      jnp.where(earlier, stored_source, graph_lib.NO_NODE),
      jnp.where(earlier, stored_target, graph_lib.NO_NODE),
      limit,
    ),
    overflow=nodes.overflow,
  )


def with_stored_edges(
  stored: StateGraph,
  backup: Callable[[StateGraph], chex.Array] = distances.shortest_distances,
) -> Callable[[StateGraph], chex.Array]:
  """A backup over the union of a graph with stored edges.

  To be passed to `credit_group`: the graph that the estimator sees is then
  still the visit's own, edge for step, while the distances are the union's.

  Args:
    stored: StateGraph of stored edges.
    backup: distance of every node of a graph. The stored edges are distinct,
      so one that weighs edges by how often they were taken counts each once.

  Returns:
    Function of a StateGraph in the same N node ids, float32 [N].
  """

  def backup_of_union(graph):
    node_mask = graph.node_mask | stored.node_mask
    return backup(
      graph.replace(
        source=jnp.concatenate([graph.source, stored.source]),
        target=jnp.concatenate([graph.target, stored.target]),
        cost=jnp.concatenate([graph.cost, stored.cost]),
        mask=jnp.concatenate([graph.mask, stored.mask]),
        node_mask=node_mask,
        num_nodes=jnp.sum(node_mask, dtype=jnp.int32),
      )
    )

  return backup_of_union


def _nodes_of(source, target, num_nodes):
  """Bool [N]: the sink and the ends of these edges, NO_NODE left out."""
  node_mask = jnp.zeros((num_nodes,), bool).at[graph_lib.SUCCESS].set(True)
  for ends in (source, target):
    place = jnp.where(ends < 0, num_nodes, ends)
    node_mask = node_mask.at[place].set(True, mode="drop")
  return node_mask
