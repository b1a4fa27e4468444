"""Credit in plain Python: dicts and heapq, linear in the steps.

What the authors' recipe computes, without its scans over all steps for every
row: each task is gathered once, each state once.
"""

import collections
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# No observation equals it.
_SINK = object()


def assign_credit(
  steps: Mapping[str, Sequence[Any]],
  *,
  omega: float = 0.1,
  success_reward: float = 10.0,
  invalid_penalty: float = 0.1,
  epsilon: float = 1e-6,
) -> dict[str, np.ndarray]:
  """GraphGPO's distances and advantages, as the authors' recipe has them.

  Args:
    steps: columns as `graphgpo_jax.assign_credit` takes them, observations
      hashable; rows in order, nothing is checked.
    omega: distance discount in (0, 1).
    success_reward: reward of a success, in reward units.
    invalid_penalty: cost of an action that is not admissible, reward units.
    epsilon: keeps small deviations from being blown up.

  Returns:
    distance, next_distance and advantage, float32 [n], in the order of rows.

  Reference: arXiv 2605.26684.
  """
  num_steps = len(steps["t"])
  task, trajectory = steps["task"], steps["trajectory"]
  source, target = steps["observation"], list(steps["next_observation"])
  success = steps["success"]
  cost = steps.get("cost", [1.0] * num_steps)
  valid = steps.get("action_valid", [True] * num_steps)
  penalty = [0.0 if fine else invalid_penalty for fine in valid]
  returns = steps.get(
    "episode_return", [success_reward if won else 0.0 for won in success]
  )
  rows_of_task = collections.defaultdict(list)
  for row, name in enumerate(task):
    rows_of_task[name].append(row)
    following = row + 1
    last = (
      following == num_steps
      or task[following] != name
      or trajectory[following] != trajectory[row]
    )
    if last and success[row]:
      target[row] = _SINK

  here, there = [0.0] * num_steps, [0.0] * num_steps
  advantage = [0.0] * num_steps
  for rows in rows_of_task.values():
    into = collections.defaultdict(list)
    rows_of_state = collections.defaultdict(list)
    for row in rows:
      into[target[row]].append((source[row], cost[row]))
      rows_of_state[source[row]].append(row)
    distance = _distances(into)
    beyond = max(distance.values()) + 1.0
    for row in rows:
      here[row] = distance.get(source[row], beyond)
      there[row] = distance.get(target[row], beyond)
    scores = [returns[row] - penalty[row] for row in rows]
    for row, value in zip(rows, _normalize(scores, epsilon, 1.0), strict=True):
      advantage[row] = value
    for same in rows_of_state.values():
      signal = [
        success_reward * omega ** there[row] - penalty[row] for row in same
      ]
      parts = _normalize(signal, epsilon, 0.0)
      for row, value in zip(same, parts, strict=True):
        advantage[row] += value
  return {
    "distance": np.asarray(here, np.float32),
    "next_distance": np.asarray(there, np.float32),
    "advantage": np.asarray(advantage, np.float32),
  }


def _distances(
  into: Mapping[Any, Iterable[tuple[Any, float]]],
) -> dict[Any, float]:
  """Dijkstra from the sink, backwards: distance of each state that reaches it.

  Args:
    into: node to the (source, cost) of the edges that lead to it.
  """
  distance = {_SINK: 0.0}
  # The number in the middle keeps heapq from comparing nodes.
  queue: list[tuple[float, int, Any]] = [(0.0, 0, _SINK)]
  pushed = 1
  while queue:
    reached, _, node = heapq.heappop(queue)
    if reached > distance[node]:
      continue
    for source, cost in into.get(node, ()):
      through = reached + cost
      if through < distance.get(source, math.inf):
        distance[source] = through
        heapq.heappush(queue, (through, pushed, source))
        pushed += 1
  return distance


def _normalize(
  values: Sequence[float], epsilon: float, lone: float
) -> list[float]:
  """Deviation from the mean; a lone value is multiplied by `lone`."""
  count = len(values)
  if count == 1:
    return [lone * values[0] / (1.0 + epsilon)]
  mean = sum(values) / count
  squares = sum((value - mean) ** 2 for value in values)
  scale = math.sqrt(squares / (count - 1)) + epsilon
  return [(value - mean) / scale for value in values]
