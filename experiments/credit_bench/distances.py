"""Distances alone, on the device, with node ids given."""

import functools
import heapq
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import bench_machine
from experiments.credit_bench.options import Options
from graphgpo_jax.credit import (
  all_pairs,
  distances,
  frontier,
  graph,
  min_plus_kernel,
)

BATCHES = ((32, 120), (128, 200), (256, 400))  # groups, edges of each
_QUICK_BATCHES = ((2, 12), (3, 20))
_HORIZON = 50
_BUDGET_SECONDS = 4.0
_MOST_CALLS = 200

Function = Callable[[graph.StateGraph], jax.Array]


def random_graphs(
  groups: int, edges: int, *, seed: int = 0
) -> graph.StateGraph:
  """Graphs of random walks, padded as tables and trainers pad them.

  A quarter as many states as edges. A walk starts anew in state 1 after 50
  steps or at the last state, whose entrance is SUCCESS.

  Args:
    groups: B.
    edges: E of each group.
    seed: any integer of at least 0.

  Returns:
    StateGraph of [B, E] edges of cost 1 and N = E + 1 nodes.
  """
  rng = np.random.default_rng(seed)
  states = max(edges // 4, 2)
  leads_to = rng.integers(1, states + 1, (groups, states + 1, 4))
  source = np.empty((groups, edges), np.int32)
  target = np.empty((groups, edges), np.int32)
  here = np.ones(groups, np.int64)
  for step in range(edges):
    action = rng.integers(0, 4, groups)
    there = leads_to[np.arange(groups), here, action]
    won = there == states
    source[:, step] = here
    target[:, step] = np.where(won, graph.SUCCESS, there)
    again = won | ((step + 1) % _HORIZON == 0)
    here = np.where(again, 1, there)
  ones = np.ones((groups, edges), np.float32)
  steps = graph.Steps(
    source=source,
    target=target,
    cost=ones,
    reward=ones,
    episode_return=ones,
    success=ones > 0,
    last=ones > 0,
    action_valid=ones > 0,
    mask=ones > 0,
  )
  build = functools.partial(graph.build_graph, max_nodes=edges + 1)
  return jax.jit(jax.vmap(build))(jax.tree.map(jnp.asarray, steps))


def heapq_distances(graphs: Any) -> np.ndarray:
  """Dijkstra with heapq, group by group, from arrays on the host.

  Args:
    graphs: StateGraph of NumPy arrays, [B, E] edges and N nodes.

  Returns:
    float32 [B, N].
  """
  found = np.full(graphs.node_mask.shape, np.inf, np.float32)
  columns = (graphs.source, graphs.target, graphs.cost, graphs.mask)
  for row, lists in enumerate(zip(*columns, strict=True)):
    into: dict[int, list[tuple[int, float]]] = {}
    for source, target, cost, there in zip(
      *(column.tolist() for column in lists), strict=True
    ):
      if there:
        into.setdefault(target, []).append((source, cost))
    best = {graph.SUCCESS: 0.0}
    queue = [(0.0, graph.SUCCESS)]
    while queue:
      distance, node = heapq.heappop(queue)
      if distance > best[node]:
        continue
      for source, cost in into.get(node, ()):
        through = distance + cost
        if through < best.get(source, np.inf):
          best[source] = through
          heapq.heappush(queue, (through, source))
    found[row, list(best)] = list(best.values())
  return found


def contestants() -> dict[str, Function]:
  """Functions of a batch of graphs, by name."""

  def mapped(function):
    return jax.jit(lambda graphs: jax.lax.map(function, graphs))

  def vectorised(function):
    return jax.jit(jax.vmap(function))

  def to_success(state_graph):
    return all_pairs.all_pairs_distances(state_graph)[:, graph.SUCCESS]

  found = {
    "edges, lax.map": mapped(distances.edge_distances),
    "edges, vmap": vectorised(distances.edge_distances),
    "dense, lax.map": mapped(distances.dense_distances),
    "dense, vmap": vectorised(distances.dense_distances),
    "frontier, lax.map": mapped(frontier.frontier_distances),
    "all pairs, lax.map": mapped(to_success),
    "all pairs, vmap": vectorised(to_success),
  }
  if jax.default_backend() != "cpu":
    # On a CPU the kernel only runs step by step, as plain JAX.
    def by_kernel(graphs):
      costs = jax.vmap(graph.adjacency)(graphs)
      every = all_pairs.all_pairs_distances(
        costs, product=min_plus_kernel.product
      )
      return every[..., graph.SUCCESS]

    found["all pairs, Pallas"] = jax.jit(by_kernel)
  return found


def measure(options: Options) -> dict[str, Any]:
  """Checks that all agree, then times them.

  Args:
    options: quick.

  Returns:
    `batches`: for each its `groups`, `edges`, `nodes`, and `seconds` (medians)
    by contestant; a contestant that the device refuses stands in `failed`.

  Raises:
    ValueError: a contestant's distances differ from those of heapq.
  """
  return {
    "batches": [
      _measure_batch(groups, edges, quick=options.quick)
      for groups, edges in (_QUICK_BATCHES if options.quick else BATCHES)
    ]
  }


def _measure_batch(groups, edges, *, quick):
  graphs = jax.block_until_ready(random_graphs(groups, edges))
  on_host = jax.device_get(graphs)
  expected = heapq_distances(on_host)
  record: dict[str, Any] = {
    "groups": groups,
    "edges": edges,
    "nodes": int(expected.shape[1]),
    "farthest": float(np.max(expected[np.isfinite(expected)])),
    "seconds": {},
    "failed": {},
  }
  budget = 0.0 if quick else _BUDGET_SECONDS
  for name, function in contestants().items():
    try:
      # A form that this device cannot compile must not end the others.
      found = jax.device_get(function(graphs))
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
      record["failed"][name] = str(error).splitlines()[0][:200]
      continue
    if not np.array_equal(found, expected):
      raise ValueError(
        f"distances of {groups} groups x {edges} edges: {name} differs from "
        "heapq, so nothing is timed"
      )
    record["seconds"][name] = median_seconds(
      functools.partial(_wait_for, function, graphs), budget
    )
  record["seconds"]["heapq"] = median_seconds(
    lambda: heapq_distances(on_host), budget
  )
  return record


def _wait_for(function: Function, graphs: graph.StateGraph) -> None:
  jax.block_until_ready(function(graphs))


def median_seconds(call: Callable[[], Any], budget: float) -> float:
  """Median of as many calls as fit into `budget` seconds, at least one."""
  values: list[float] = []
  while not values or (sum(values) < budget and len(values) < _MOST_CALLS):
    started = time.perf_counter()
    call()
    values.append(time.perf_counter() - started)
  return statistics.median(values)


def table(found: dict[str, Any]) -> str:
  """Milliseconds per batch, and by those of the fastest on the device."""
  batches = found["batches"]
  names = list(
    dict.fromkeys(name for each in batches for name in each["seconds"])
  )
  rows = [["distances, ms per batch"]]
  for each in batches:
    rows[0] += [
      f"{each['groups']} groups x {each['edges']} edges",
      "by the fastest",
    ]
  for name in names:
    cells = [name]
    for each in batches:
      seconds = each["seconds"].get(name)
      if seconds is None:
        cells += ["-", "-"]
        continue
      fastest = min(
        value for other, value in each["seconds"].items() if other != "heapq"
      )
      cells += [f"{1000 * seconds:.3f}", f"{seconds / fastest:.1f}"]
    rows.append(cells)
  notes = [
    f"not run: {name}, {each['groups']} groups: {reason}"
    for each in batches
    for name, reason in each["failed"].items()
  ]
  return "\n".join([bench_machine.table(rows), *notes])
