"""Credit by NumPy and SciPy: what one writes without JAX and in a hurry to run.

Ids come from one dict lookup per text (a defaultdict that counts, driven by
`map`), or from `np.unique` of Python's hashes of the texts, which is slower;
distances from `scipy.sparse.csgraph.dijkstra` on the reversed graph of all
tasks at once, statistics from `np.bincount` in float64.
"""

import collections
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

Distances = Callable[
  [np.ndarray, np.ndarray, np.ndarray | None, int], np.ndarray
]
Nodes = Callable[
  [Sequence[Any], Sequence[Any], np.ndarray, np.ndarray],
  tuple[np.ndarray, np.ndarray],
]


def dijkstra_distances(
  source: np.ndarray,
  target: np.ndarray,
  cost: np.ndarray | None,
  num_nodes: int,
) -> np.ndarray:
  """Distance of every node to node 0.

  Args:
    source: int [n], node each edge starts from.
    target: int [n], node it leads to; parallel edges are allowed.
    cost: float [n], at least 0, cost units; None where every edge costs 1.
    num_nodes: N.

  Returns:
    float64 [N], cost units; +inf where node 0 cannot be reached.
  """
  shape = (num_nodes, num_nodes)
  if cost is None:
    # This constructor adds up parallel edges, which costs of 1 do not see.
    into = sparse.csr_array((np.ones(len(source)), (target, source)), shape)
    return csgraph.dijkstra(into, indices=0, unweighted=True)
  order = np.argsort(target)
  starts = np.zeros(num_nodes + 1, np.int64)
  np.cumsum(np.bincount(target, minlength=num_nodes), out=starts[1:])
  into = sparse.csr_array((cost[order], source[order], starts), shape)
  return csgraph.dijkstra(into, indices=0)


def looked_up_nodes(
  observation: Sequence[Any],
  following: Sequence[Any],
  task: np.ndarray,
  failed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Nodes by looking up every text of both columns.

  Args:
    observation: n hashable observations.
    following: n next observations.
    task: int [n], 0, 1, ...
    failed: bool [n], the last step of a failed rollout; not used.

  Returns:
    int64 [n], nodes that the steps leave, and [n], those they lead to, from 1.
  """
  del failed
  number = _numbers()
  source = _look_up(number, observation, len(task))
  target = _look_up(number, following, len(task))
  return _apart(source, target, task, len(number))


def looked_up_sources(
  observation: Sequence[Any],
  following: Sequence[Any],
  task: np.ndarray,
  failed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Nodes as `looked_up_nodes`, most of `following` unseen.

  Only what ends a failure is looked up; every other next observation is taken
  to be the next row's observation.

  Args:
    observation: n hashable observations.
    following: n next observations.
    task: int [n], 0, 1, ...
    failed: bool [n], the last step of a failed rollout.

  Returns:
    Two int64 [n], from 1; 0 where the last row leads.
  """
  number = _numbers()
  source = _look_up(number, observation, len(task))
  target = np.append(source[1:], 0)
  ends = np.flatnonzero(failed)
  target[ends] = _look_up(
    number, (following[row] for row in ends.tolist()), len(ends)
  )
  return _apart(source, target, task, len(number))


def unique_nodes(
  observation: Sequence[Any],
  following: Sequence[Any],
  task: np.ndarray,
  failed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Nodes by `np.unique` of 64-bit hashes, which are trusted not to collide.

  Args:
    observation: n hashable observations.
    following: n next observations.
    task: int [n], 0, 1, ...
    failed: bool [n], the last step of a failed rollout; not used.

  Returns:
    Two int64 [n], from 1.
  """
  del failed
  both = itertools.chain(observation, following)
  hashes = np.fromiter(map(hash, both), np.int64, 2 * len(task))
  # An odd factor tells equal texts of two tasks apart; it wraps round.
  hashes ^= np.concatenate([task, task]) * np.int64(0x1E3779B97F4A7C15)
  _, number = np.unique(hashes, return_inverse=True)
  source, target = np.split(number + 1, 2)
  return source, target


def _numbers():
  """A dict that numbers what it is asked for 1, 2, ..."""
  return collections.defaultdict(itertools.count(1).__next__)


def _look_up(number: dict[Any, int], texts: Iterable[Any], count: int):
  return np.fromiter(map(number.__getitem__, texts), np.int64, count)


def _apart(source, target, task, num_nodes):
  """Nodes of which no two tasks share one, whatever texts they share."""
  owner = np.empty(num_nodes + 1, np.int64)
  owner[source] = task
  owner[target] = task
  if (owner[source] == task).all() and (owner[target] == task).all():
    return source, target
  both = np.concatenate([source, target])
  both += np.concatenate([task, task]) * (num_nodes + 1)
  _, both = np.unique(both, return_inverse=True)
  source, target = np.split(both + 1, 2)
  return source, target


def assign_credit(
  steps: Mapping[str, Sequence[Any]],
  *,
  omega: float = 0.1,
  success_reward: float = 10.0,
  invalid_penalty: float = 0.1,
  epsilon: float = 1e-6,
  nodes: Nodes = looked_up_nodes,
  distances: Distances = dijkstra_distances,
) -> dict[str, np.ndarray]:
  """GraphGPO's distances and advantages, as the authors' recipe has them.

  R = success_reward * omega ** d(s') - penalty, normalised among the steps that
  leave the same state; plus the episode's return - penalty, normalised among
  all steps of the task. Sample deviations; (x - mean) / (std + epsilon).

  Args:
    steps: columns as `graphgpo_jax.assign_credit` takes them, observations
      hashable; rows in order, nothing is checked.
    omega: distance discount in (0, 1).
    success_reward: reward of a success, in reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    epsilon: keeps small deviations from being blown up.
    nodes: nodes of the steps' two ends, from 1: `looked_up_nodes`,
      `looked_up_sources` or `unique_nodes`.
    distances: distance of every node to node 0.

  Returns:
    distance, next_distance and advantage, float32 [n], in the order of rows.

  Reference: arXiv 2605.26684.
  """
  num_steps = len(steps["t"])
  task_starts = _starts(steps["task"])
  starts = task_starts | _starts(steps["trajectory"])
  task = np.cumsum(task_starts) - 1
  last = np.append(starts[1:], True)
  success = np.frombuffer(bytes(steps["success"]), bool)
  cost = np.asarray(steps["cost"], np.float64) if "cost" in steps else None
  source, target = nodes(
    steps["observation"], steps["next_observation"], task, last & ~success
  )
  target[last & success] = 0
  num_nodes = max(int(source.max()), int(target.max())) + 1
  distance = distances(source, target, cost, num_nodes)
  here, there = _finite(distance, source, target, task)

  penalty = np.zeros(num_steps)
  if "action_valid" in steps:
    valid = np.frombuffer(bytes(steps["action_valid"]), bool)
    penalty[~valid] = invalid_penalty
  if "episode_return" in steps:
    episode_return = np.asarray(steps["episode_return"], np.float64)
  else:
    episode_return = np.where(success, success_reward, 0.0)
  graph_return = success_reward * omega**there - penalty
  advantage = _normalize(graph_return, source, epsilon, lone=0.0)
  advantage += _normalize(episode_return - penalty, task, epsilon, lone=1.0)
  return {
    "distance": here.astype(np.float32),
    "next_distance": there.astype(np.float32),
    "advantage": advantage.astype(np.float32),
  }


def _starts(column):
  """Where a column of contiguous ids has a new one: bool [n]."""
  differs = map(operator.ne, column, itertools.islice(column, 1, None))
  starts = np.ones(len(column), bool)
  starts[1:] = np.fromiter(differs, bool, len(column) - 1)
  return starts


def _finite(distance, source, target, task):
  """Distances of both ends; unreachable is the task's farthest + 1."""
  here, there = distance[source], distance[target]
  reachable = np.isfinite(here)
  heads = np.flatnonzero(np.diff(task, prepend=-1))
  beyond = np.maximum.reduceat(np.where(reachable, here, 0.0), heads) + 1.0
  beyond = beyond[task]
  return (
    np.where(reachable, here, beyond),
    np.where(np.isfinite(there), there, beyond),
  )


def _normalize(values, group, epsilon, *, lone):
  """Deviation from the group's mean; a lone value is multiplied by `lone`."""
  count = np.bincount(group)
  some = np.maximum(count, 1)
  mean = np.bincount(group, values) / some
  deviation = values - mean[group]
  variance = np.bincount(group, deviation**2) / np.maximum(count - 1, 1)
  result = deviation / (np.sqrt(variance) + epsilon)[group]
  alone = count[group] == 1
  result[alone] = lone * values[alone] / (1.0 + epsilon)
  return result
