"""The algorithm: graphs of rollouts, distances, signals, advantages.

Pure functions of one group's arrays; it knows no environment, model or file.
"""

from graphgpo_jax.credit.all_pairs import all_pairs_bytes, all_pairs_distances
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
  Credit,
  credit_group,
  gigpo,
  graphgpo,
  grpo,
  rloo,
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
from graphgpo_jax.credit.rollouts import merge_rollouts
from graphgpo_jax.credit.sharded import sharded_distances
from graphgpo_jax.credit.statistics import graph_statistics, shares

__all__ = [
  "ESTIMATORS",
  "NO_NODE",
  "SUCCESS",
  "Credit",
  "StateGraph",
  "Steps",
  "adaptive_distances",
  "adjacency",
  "all_pairs_bytes",
  "all_pairs_distances",
  "build_graph",
  "credit_group",
  "dense_distances",
  "edge_distances",
  "fingerprint",
  "finite_distances",
  "gigpo",
  "frontier_distances",
  "graph_statistics",
  "graphgpo",
  "grpo",
  "map_groups",
  "merge_rollouts",
  "node_ids",
  "rloo",
  "sharded_distances",
  "shares",
  "shortest_distances",
]
