"""Graphs for the methods that are meant for one large graph."""

import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit import graph as graph_lib
from tests.credit import random_groups

# The sizes that most tests share, so that few shapes are compiled.
NUM_NODES = 60
NUM_EDGES = 241

SHAPES = ("random", "sparse", "walks", "star", "no success", "no edges")


def graph_of(source, target, cost, num_nodes, *, mask=None, num_edges=None):
  """StateGraph of given edges, padded to `num_edges` where that is given."""
  mask = np.ones(len(source), bool) if mask is None else mask
  missing = 0 if num_edges is None else num_edges - len(source)
  source, target, cost, mask = (
    np.pad(column, (0, missing)) for column in (source, target, cost, mask)
  )
  return graph_lib.StateGraph(
    source=jnp.array(np.where(mask, source, graph_lib.NO_NODE), jnp.int32),
    target=jnp.array(np.where(mask, target, graph_lib.NO_NODE), jnp.int32),
    cost=jnp.array(np.where(mask, cost, np.inf), jnp.float32),
    mask=jnp.array(mask),
    node_mask=jnp.ones(num_nodes, bool),
    num_nodes=jnp.int32(num_nodes),
    overflow=jnp.int32(0),
  )


def chain(number, *, parallel=1, cost=1.0):
  """States number, ..., 2, 1, SUCCESS in a row, each edge so many times."""
  source = np.repeat(np.arange(number, 0, -1), parallel)
  return graph_of(source, source - 1, np.full(len(source), cost), number + 1)


def random_graph(seed, shape, kind, *, num_edges=NUM_EDGES):
  """Edges with padding, self-loops, parallels, and parts that reach nothing.

  Args:
    seed: of all that is random.
    shape: one of SHAPES.
    kind: of costs, one of random_groups.COST_KINDS.
    num_edges: K, padding included.

  Returns:
    StateGraph with NUM_NODES nodes.
  """
  num_nodes = NUM_NODES
  rng = np.random.default_rng(seed)
  high = max(num_nodes // 4, 2) if shape == "random" else num_nodes
  source = rng.integers(1, high, num_edges)
  target = rng.integers(1, high, num_edges)
  ends = {"random": 0.05, "sparse": 0.02, "walks": 0.1, "star": 0.7}
  if shape == "walks":
    target = np.maximum(source - rng.integers(-1, 5, num_edges), 1)
    target = np.minimum(target, num_nodes - 1)
    # Only the states near the sink end in it, so ways are long.
    target[(source < 4) & (rng.random(num_edges) < 0.5)] = graph_lib.SUCCESS
  elif shape in ends:
    target[rng.random(num_edges) < ends[shape]] = graph_lib.SUCCESS
  loops = rng.random(num_edges) < 0.05
  target[loops] = source[loops]
  mask = rng.random(num_edges) < 0.9
  if shape == "no edges":
    mask[:] = False
  cost = random_groups.random_costs(rng, kind, num_edges)
  return graph_of(source, target, cost, num_nodes, mask=mask)
