"""Credit estimators: each a composition of backup, signal, normaliser, mix.

An estimator is a function `(steps, graph, distance, **options) -> Credit` of
ONE group; `credit_group` builds the graph and its distances and calls it.
"""

from collections.abc import Callable, Mapping

import chex

from graphgpo_jax.credit import distances
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit.estimators.chains import graphhca, rewardflow
from graphgpo_jax.credit.estimators.chains_to_failure import crbc, graft
from graphgpo_jax.credit.estimators.episode import grpo, rloo, salt
from graphgpo_jax.credit.estimators.histories import hgpo
from graphgpo_jax.credit.estimators.memory import frozen_scores, tigpo
from graphgpo_jax.credit.estimators.parts import (
  Credit,
  Estimator,
  episode_advantage,
  step_distances,
)
from graphgpo_jax.credit.estimators.paths import graphgpo
from graphgpo_jax.credit.estimators.returns import gigpo
from graphgpo_jax.credit.estimators.values import g2po, gagpo, pgpo

StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps

__all__ = [
  "ESTIMATORS",
  "READS_ACTIONS",
  "Credit",
  "Estimator",
  "crbc",
  "credit_group",
  "episode_advantage",
  "frozen_scores",
  "g2po",
  "gagpo",
  "gigpo",
  "graft",
  "graphgpo",
  "graphhca",
  "grpo",
  "hgpo",
  "pgpo",
  "rewardflow",
  "rloo",
  "salt",
  "step_distances",
  "tigpo",
]

ESTIMATORS: Mapping[str, Estimator] = {
  "graphgpo": graphgpo,
  "gigpo": gigpo,
  "grpo": grpo,
  "rloo": rloo,
  "hgpo": hgpo,
  "g2po": g2po,
  "pgpo": pgpo,
  "gagpo": gagpo,
  "salt": salt,
  "tigpo": tigpo,
  "rewardflow": rewardflow,
  "graphhca": graphhca,
  "crbc": crbc,
  "graft": graft,
}

# Those that look at `Steps.action`; the others need not be given it.
READS_ACTIONS: frozenset[str] = frozenset({"crbc", "salt"})


def credit_group(
  steps: Steps,
  estimator: Estimator = graphgpo,
  *,
  max_nodes: int,
  max_edges: int | None = None,
  backup: Callable[[StateGraph], chex.Array] = distances.shortest_distances,
  **options,
) -> tuple[Credit, StateGraph, chex.Array]:
  """Steps of one group to their credit: graph, distance, estimator.

  Args:
    steps: Steps of one group, [E].
    estimator: function `(steps, graph, distance, **options) -> Credit`.
    max_nodes: N, node limit, the sink included.
    max_edges: edge limit; none without it.
    backup: distance of every node of the graph.
    **options: keywords of the estimator.

  Returns:
    Credit [E], StateGraph, and the distances float32 [N] (+inf where SUCCESS
    cannot be reached).
  """
  graph = graph_lib.build_graph(steps, max_nodes=max_nodes, max_edges=max_edges)
  distance = backup(graph)
  return estimator(steps, graph, distance, **options), graph, distance
