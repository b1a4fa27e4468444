"""Memory across updates: what earlier visits of a task have shown of it.

A visit is one group of rollouts of a task. The memory of a task holds, on the
device and in arrays of fixed size, the distinct edges its visits have seen,
each with its age, and the last visit's episode scores. The functions are of
ONE task; a store of many is in `memory_store`.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib


@chex.dataclass(frozen=True)
class GraphMemory:
  """What is kept of one task; 0 or False in padding.

  A store of C tasks is the same with a leading axis [C].

  States are kept by fingerprint, since node ids are those of one graph alone.
  Edges stand in order: the last seen first, of these the most taken first, of
  these in the order of their fingerprints.
  """

  key: chex.Array  # uint32 [2], fingerprint of the task
  claimed: chex.Array  # int32 [], when the slot was last claimed; 0: it is free
  visits: chex.Array  # int32 [], visits so far; the first is number 1
  source: chex.Array  # uint32 [K, 2], fingerprint of the state an edge leaves
  target: chex.Array  # uint32 [K, 2], of that it leads to; 0 for SUCCESS
  to_success: chex.Array  # bool [K], the edge leads to SUCCESS
  cost: chex.Array  # float32 [K], as it was seen, in cost units
  first: chex.Array  # int32 [K], number of the visit that brought it in
  seen: chex.Array  # int32 [K], number of the last visit that took it
  count: chex.Array  # int32 [K], steps that took it
  mask: chex.Array  # bool [K], True where there is an edge
  evicted: chex.Array  # int32 [], edges lost for want of room so far
  scores: chex.Array  # float32 [S], the last visit's frozen episode scores
  scores_mask: chex.Array  # bool [S], True where a score counts


def empty_memory(*, max_edges: int, max_scores: int = 0) -> GraphMemory:
  """Memory of a task that was never visited.

  Args:
    max_edges: K, distinct edges that are kept at most.
    max_scores: S, entries of a visit's scores, such as its steps; 0 keeps none.

  Returns:
    GraphMemory.

  Raises:
    ValueError: a size is out of range.
  """
  if max_edges < 1:
    raise ValueError(f"max_edges must be at least 1, got {max_edges}")
  if max_scores < 0:
    raise ValueError(f"max_scores must be at least 0, got {max_scores}")
  # An array of its own each: one buffer cannot be donated twice.
  return GraphMemory(
    key=jnp.zeros((2,), jnp.uint32),
    claimed=jnp.zeros((), jnp.int32),
    visits=jnp.zeros((), jnp.int32),
    source=jnp.zeros((max_edges, 2), jnp.uint32),
    target=jnp.zeros((max_edges, 2), jnp.uint32),
    to_success=jnp.zeros((max_edges,), bool),
    cost=jnp.zeros((max_edges,), jnp.float32),
    first=jnp.zeros((max_edges,), jnp.int32),
    seen=jnp.zeros((max_edges,), jnp.int32),
    count=jnp.zeros((max_edges,), jnp.int32),
    mask=jnp.zeros((max_edges,), bool),
    evicted=jnp.zeros((), jnp.int32),
    scores=jnp.zeros((max_scores,), jnp.float32),
    scores_mask=jnp.zeros((max_scores,), bool),
  )


def edge_ages(memory: GraphMemory) -> chex.Array:
  """Visits since each edge was last taken, int32 [K]; 0 if by the last one."""
  return jnp.where(memory.mask, memory.visits - memory.seen, 0)


def faded_costs(
  memory: GraphMemory, *, fade: float = 1.0, fade_after: int = 0
) -> chex.Array:
  """Cost of each edge, grown with the visits that did not take it.

  c' = c * fade ** max(age - fade_after, 0), age in visits

  An edge of cost 0 does not fade; `remember` can drop it by its age.

  Args:
    memory: GraphMemory of one task.
    fade: factor per visit, at least 1; 1 for none.
    fade_after: visits that an edge may go unseen before it fades.

  Returns:
    float32 [K], in cost units; +inf in padding.

  Raises:
    ValueError: an argument is out of range.
  """
  if not fade >= 1.0:
    raise ValueError(f"fade must be at least 1, got {fade}")
  if fade_after < 0:
    raise ValueError(f"fade_after must be at least 0, got {fade_after}")
  late = jnp.maximum(edge_ages(memory) - fade_after, 0).astype(jnp.float32)
  # The power may overflow, and 0 * inf is none.
  grown = memory.cost * jnp.power(jnp.float32(fade), late)
  grown = jnp.where(memory.cost > 0, grown, memory.cost)
  return jnp.where(memory.mask, grown, jnp.inf)


def remember(
  memory: GraphMemory,
  steps: graph_lib.Steps,
  source_key: chex.Array,
  target_key: chex.Array,
  *,
  scores: chex.Array | None = None,
  scores_mask: chex.Array | None = None,
  max_age: int | None = None,
  keep_cheapest: bool = False,
) -> GraphMemory:
  """Merges a visit's edges with the stored ones.

  Edges with the same source and target are one. Those that too many visits
  have not taken are dropped; of the others the last seen K stay, among them
  the most taken, and the rest is counted in `evicted`. What stays depends
  neither on the order of the rollouts nor on padding.

  Args:
    memory: GraphMemory of one task.
    steps: Steps of this visit, [E]; of their node ids only SUCCESS as target
      counts. Without any valid step there was no visit.
    source_key: uint32 [E, 2], fingerprint of the state each step leaves.
    target_key: uint32 [E, 2], of that it leads to.
    scores: float32 [S], this visit's episode scores, kept for the next visit;
      the stored ones stay without it.
    scores_mask: bool [S], True where a score counts; all do without it.
    max_age: an edge that so many visits in a row, this one included, have not
      taken is dropped; None keeps them all. 1 keeps this visit's edges alone.
    keep_cheapest: of several costs of an edge, keep the least ever seen
      instead of the least of the last visit that took it.

  Returns:
    GraphMemory.

  Raises:
    ValueError: `max_age` is below 1, or the memory has no room for `scores`.
  """
  chex.assert_rank([steps.mask, memory.mask], 1)
  chex.assert_shape([source_key, target_key], (*steps.mask.shape, 2))
  chex.assert_type([source_key, target_key], jnp.uint32)
  if max_age is not None and max_age < 1:
    raise ValueError(f"max_age must be at least 1, got {max_age}")
  if scores is not None and scores.shape != memory.scores.shape:
    raise ValueError(
      f"scores must have the shape {memory.scores.shape} that the memory was "
      f"made for (max_scores), got {scores.shape}"
    )
  happened = jnp.any(steps.mask)
  visit = memory.visits + happened.astype(jnp.int32)
  edges = _distinct_edges(
    memory, steps, source_key, target_key, visit, keep_cheapest=keep_cheapest
  )
  alive = edges["mask"]
  if max_age is not None:
    alive &= visit - edges["seen"] < max_age
  number, room = alive.shape[0], memory.mask.shape[0]
  # Stable, so that ties stay in the order of the fingerprints.
  order = jax.lax.sort(
    (
      (~alive).astype(jnp.int32),
      -edges["seen"],
      -edges["count"],
      jnp.arange(number, dtype=jnp.int32),
    ),
    num_keys=3,
    is_stable=True,
  )[-1][:room]
  kept = alive[order]

  def keep(values):
    values = values[order]
    mask = kept.reshape(kept.shape + (1,) * (values.ndim - 1))
    return jnp.where(mask, values, jnp.zeros_like(values))

  lost = jnp.sum(alive, dtype=jnp.int32) - jnp.sum(kept, dtype=jnp.int32)
  merged = memory.replace(  # type: ignore[attr-defined]
    **{name: keep(values) for name, values in edges.items()} | {"mask": kept},
    visits=visit,
    evicted=memory.evicted + lost,
  )
  if scores is not None:
    merged = _freeze(merged, scores, scores_mask, happened)
  return jax.tree.map(jax.lax.stop_gradient, merged)


def _distinct_edges(
  memory, steps, source_key, target_key, visit, *, keep_cheapest
):
  """Stored and new edges, each once: columns [K + E], padding behind."""
  to_success = steps.mask & (steps.target == graph_lib.SUCCESS)
  now = jnp.broadcast_to(visit, steps.mask.shape)
  new = {
    "source": source_key,
    "target": jnp.where(to_success[:, None], jnp.uint32(0), target_key),
    "to_success": to_success,
    "cost": steps.cost.astype(jnp.float32),
    "first": now,
    "seen": now,
    "count": jnp.ones_like(now),
    "mask": steps.mask,
  }
  both = {
    name: jnp.concatenate([getattr(memory, name), values])
    for name, values in new.items()
  }
  number = both["mask"].shape[0]
  padding, *lanes, order = jax.lax.sort(
    (
      (~both["mask"]).astype(jnp.uint32),
      both["source"][:, 0],
      both["source"][:, 1],
      both["to_success"].astype(jnp.uint32),
      both["target"][:, 0],
      both["target"][:, 1],
      jnp.arange(number, dtype=jnp.int32),
    ),
    num_keys=6,
  )
  both = {name: values[order] for name, values in both.items()}
  valid = both["mask"]
  starts = jnp.zeros((number,), bool).at[0].set(True)
  for lane in (padding, *lanes):
    starts = starts.at[1:].set(starts[1:] | (lane[1:] != lane[:-1]))
  starts &= valid
  # Padding belongs to no edge.
  edge = jnp.where(valid, jnp.cumsum(starts, dtype=jnp.int32) - 1, number)
  begin = jnp.zeros((number,), jnp.int32)
  begin = begin.at[jnp.where(starts, edge, number)].set(
    jnp.arange(number, dtype=jnp.int32), mode="drop"
  )
  seen = jax.ops.segment_max(both["seen"], edge, number)
  counted = valid
  if not keep_cheapest:
    counted = valid & (both["seen"] == seen[jnp.where(valid, edge, 0)])
  cost = jnp.where(counted, both["cost"], jnp.inf)
  return {
    "source": both["source"][begin],
    "target": both["target"][begin],
    "to_success": both["to_success"][begin],
    "cost": jax.ops.segment_min(cost, edge, number),
    "first": jax.ops.segment_min(both["first"], edge, number),
    "seen": seen,
    "count": jax.ops.segment_sum(both["count"], edge, number),
    "mask": jnp.arange(number) < jnp.sum(starts, dtype=jnp.int32),
  }


def _freeze(memory, scores, scores_mask, happened):
  """The memory with these scores, where the visit took place."""
  if scores_mask is None:
    scores_mask = jnp.ones(scores.shape, bool)
  scores = jnp.where(scores_mask, scores, 0.0).astype(jnp.float32)
  return memory.replace(
    scores=jnp.where(happened, scores, memory.scores),
    scores_mask=jnp.where(happened, scores_mask, memory.scores_mask),
  )
