"""The algorithm: graphs of rollouts, distances, signals, advantages.

Pure functions of one group's arrays; it knows no environment, model or file.
"""

from graphgpo_jax.credit.all_pairs import all_pairs_bytes, all_pairs_distances
from graphgpo_jax.credit.backups import (
  decayed_max,
  expected_values,
  power_mean_values,
  with_fail_sink,
)
from graphgpo_jax.credit.batching import map_groups
from graphgpo_jax.credit.distances import (
  adaptive_distances,
  dense_distances,
  edge_distances,
  finite_distances,
  shortest_distances,
)
from graphgpo_jax.credit.estimators import (
  ESTIMATORS,
  READS_ACTIONS,
  Credit,
  crbc,
  credit_group,
  g2po,
  gagpo,
  gigpo,
  graft,
  graphgpo,
  graphhca,
  grpo,
  hgpo,
  pgpo,
  rewardflow,
  rloo,
  salt,
)
from graphgpo_jax.credit.fingerprints import fingerprint
from graphgpo_jax.credit.frontier import frontier_distances
from graphgpo_jax.credit.graph import (
  NO_NODE,
  SUCCESS,
  StateGraph,
  Steps,
  adjacency,
  build_graph,
  node_ids,
)
from graphgpo_jax.credit.histories import history_segments
from graphgpo_jax.credit.linear_chains import StateValues
from graphgpo_jax.credit.memory import GraphMemory, empty_memory, remember
from graphgpo_jax.credit.memory_graph import (
  UnionGraph,
  union_graph,
  with_stored_edges,
)
from graphgpo_jax.credit.memory_store import claim_slot, empty_store, slot_of
from graphgpo_jax.credit.progress import (
  ProgressCounts,
  makes_progress,
  progress_counts,
  progress_shares,
)
from graphgpo_jax.credit.rollouts import merge_rollouts
from graphgpo_jax.credit.sharded import sharded_distances
from graphgpo_jax.credit.statistics import graph_statistics, shares

__all__ = [
  "ESTIMATORS",
  "NO_NODE",
  "READS_ACTIONS",
  "SUCCESS",
  "Credit",
  "GraphMemory",
  "ProgressCounts",
  "StateGraph",
  "StateValues",
  "Steps",
  "UnionGraph",
  "adaptive_distances",
  "adjacency",
  "all_pairs_bytes",
  "all_pairs_distances",
  "build_graph",
  "claim_slot",
  "crbc",
  "credit_group",
  "decayed_max",
  "dense_distances",
  "edge_distances",
  "empty_memory",
  "empty_store",
  "expected_values",
  "fingerprint",
  "finite_distances",
  "g2po",
  "gagpo",
  "gigpo",
  "frontier_distances",
  "graft",
  "graph_statistics",
  "graphgpo",
  "graphhca",
  "grpo",
  "hgpo",
  "history_segments",
  "makes_progress",
  "map_groups",
  "merge_rollouts",
  "node_ids",
  "pgpo",
  "power_mean_values",
  "progress_counts",
  "progress_shares",
  "remember",
  "rewardflow",
  "rloo",
  "salt",
  "sharded_distances",
  "shares",
  "shortest_distances",
  "slot_of",
  "union_graph",
  "with_fail_sink",
  "with_stored_edges",
]
