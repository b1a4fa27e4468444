"""The pipeline of NumPy and SciPy with distances from rustworkx."""

import functools

import numpy as np
import rustworkx

from experiments.credit_references import scipy_pipeline


def dijkstra_distances(
  source: np.ndarray,
  target: np.ndarray,
  cost: np.ndarray | None,
  num_nodes: int,
) -> np.ndarray:
  """Distance of every node to node 0, by rustworkx.

  Args:
    source: int [n], node each edge starts from.
    target: int [n], node it leads to; parallel edges are allowed.
    cost: float [n], at least 0, cost units; None where every edge costs 1.
    num_nodes: N.

  Returns:
    float64 [N], cost units; +inf where node 0 cannot be reached.
  """
  into = rustworkx.PyDiGraph()
  into.add_nodes_from(range(num_nodes))
  costs = [1.0] * len(source) if cost is None else cost.tolist()
  into.add_edges_from(
    list(zip(target.tolist(), source.tolist(), costs, strict=True))
  )
  lengths = rustworkx.digraph_dijkstra_shortest_path_lengths(into, 0, float)
  distance = np.full(num_nodes, np.inf)
  nodes = np.fromiter(lengths.keys(), np.int64, len(lengths))
  distance[nodes] = np.fromiter(lengths.values(), np.float64, len(lengths))
  distance[0] = 0.0
  return distance


assign_credit = functools.partial(
  scipy_pipeline.assign_credit, distances=dijkstra_distances
)
