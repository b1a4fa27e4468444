"""A task's steps as the graph that is drawn of them."""

import dataclasses
import heapq
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphgpo_jax.tables import table_rows

SUCCESS = 0
# What a reader sees of a longer text.
_MOST_CHARACTERS = 4000


@dataclasses.dataclass(frozen=True)
class TaskGraph:
  """Rollouts of a task: n steps, N nodes (SUCCESS is 0), K edges.

  An edge is what one action in one state led to: two actions that lead from a
  state to the same other one are two edges.
  """

  source: np.ndarray  # int32 [n]
  target: np.ndarray  # int32 [n]
  rollout: np.ndarray  # int32 [n], 0, 1, ... ascending
  action: np.ndarray  # int32 [n], equal numbers are equal actions
  cost: np.ndarray  # float32 [n]
  reward: np.ndarray  # float32 [n]
  episode_return: np.ndarray  # float32 [n]
  success: np.ndarray  # bool [n]
  last: np.ndarray  # bool [n]
  action_valid: np.ndarray  # bool [n]
  edge: np.ndarray  # int32 [n], edge of each step
  edge_source: np.ndarray  # int32 [K]
  edge_target: np.ndarray  # int32 [K]
  distance: np.ndarray  # float64 [N], +inf where no way to SUCCESS was seen
  first_time: np.ndarray  # int64 [N], the least place in a rollout
  node_text: list[str]  # [N]
  action_text: list[str]  # [n]
  said: list[str]  # [n], all that a model said; "" where that is the action
  trajectory: list[str]  # name of each rollout

  @property
  def progress(self) -> np.ndarray:
    """Bool [n]: the step came closer to SUCCESS."""
    return self.distance[self.target] < self.distance[self.source]


def build_graph(steps: Mapping[str, Sequence[Any]]) -> TaskGraph:
  """Builds the graph of one task.

  Args:
    steps: columns of `assign_credit`, of one task. Where rewards are missing a
      success earns 1, as in training. Texts are taken from picture and
      next_picture, action_text and response, where they are there and not "".

  Returns:
    TaskGraph.

  Raises:
    ValueError: a column, row or rollout is wrong, or there are several tasks.
  """
  rows = table_rows.read_rows(steps, success_reward=1.0, with_actions=True)
  if rows.group[-1]:
    raise ValueError("expected the steps of one task, got several")
  count = len(rows.source)
  order = np.arange(count) if rows.order is None else rows.order
  last = np.zeros(count, bool)
  last[rows.last_row] = True
  node: dict[int, int] = {}
  text = ["SUCCESS"]
  time = np.arange(count) - np.append(-1, rows.last_row)[rows.rollout] - 1
  first_time = [int(time.max()) + 1]

  def number(word, step, when, picture, observation):
    if word not in node:
      node[word] = len(text)
      row = order[step]
      shown = _column(steps, picture, row) or _shown(steps[observation][row])
      text.append(_cut(shown))
      first_time.append(when)
    place = node[word]
    first_time[place] = min(first_time[place], when)
    return place

  source = np.asarray(
    [
      number(word, step, int(time[step]), "picture", "observation")
      for step, word in enumerate(rows.source.tolist())
    ],
    np.int32,
  )
  target = np.append(source[1:], 0)
  for final, step in zip(rows.final.tolist(), rows.last_row, strict=True):
    target[step] = SUCCESS
    if not rows.success[step]:
      target[step] = number(
        final, step, int(time[step]) + 1, "next_picture", "next_observation"
      )
  action, action_text, said = _actions(steps, rows, order, target)
  edge, ends = _edges(source, target, action)
  return TaskGraph(
    source=source,
    target=target.astype(np.int32),
    rollout=rows.rollout.astype(np.int32),
    action=action,
    cost=rows.cost,
    reward=rows.reward,
    episode_return=rows.episode_return,
    success=rows.success,
    last=last,
    action_valid=rows.action_valid,
    edge=edge,
    edge_source=ends[:, 0],
    edge_target=ends[:, 1],
    distance=distances(source, target, rows.cost, len(text)),
    first_time=np.asarray(first_time),
    node_text=text,
    action_text=action_text,
    said=said,
    trajectory=[str(steps["trajectory"][order[row]]) for row in rows.last_row],
  )


def distances(
  source: np.ndarray, target: np.ndarray, cost: np.ndarray, num_nodes: int
) -> np.ndarray:
  """Least cost from every node to SUCCESS; +inf where there is no way.

  Args:
    source: int [n].
    target: int [n].
    cost: float [n], at least 0.
    num_nodes: N.

  Returns:
    float64 [N].
  """
  into: list[list[tuple[int, float]]] = [[] for _ in range(num_nodes)]
  for start, end, price in zip(
    source.tolist(), target.tolist(), cost.tolist(), strict=True
  ):
    into[end].append((start, price))
  found = np.full(num_nodes, np.inf)
  found[SUCCESS] = 0.0
  waiting = [(0.0, SUCCESS)]
  while waiting:
    far, node = heapq.heappop(waiting)
    if far > found[node]:
      continue
    for before, price in into[node]:
      if far + price < found[before]:
        found[before] = far + price
        heapq.heappush(waiting, (far + price, before))
  return found


def _actions(steps, rows, order, target):
  """Number of each step's action, its text, and what was said with it."""
  if rows.action is None:
    number = target.astype(np.int32)
    named = [""] * len(order)
  else:
    number = np.unique(rows.action, return_inverse=True)[1].astype(np.int32)
    named = [_shown(steps["action"][row]) for row in order]
  text = [
    _cut(_column(steps, "action_text", row) or name)
    for row, name in zip(order, named, strict=True)
  ]
  said = [_cut(_column(steps, "response", row)) for row in order]
  return (
    number,
    text,
    [
      "" if whole.strip() == short.strip() else whole
      for whole, short in zip(said, text, strict=True)
    ],
  )


def _edges(source, target, action):
  """Edge of each step, and the ends of each edge, as they first appear."""
  known: dict[tuple[int, int, int], int] = {}
  edge = [
    known.setdefault(one, len(known))
    for one in zip(
      source.tolist(), target.tolist(), action.tolist(), strict=True
    )
  ]
  return np.asarray(edge, np.int32), np.asarray(list(known), np.int32)


def _column(steps, name, row) -> str:
  return steps[name][row] if name in steps else ""


def _shown(value: Any) -> str:
  return value if isinstance(value, str) else json.dumps(value, default=str)


def _cut(text: str) -> str:
  if len(text) <= _MOST_CHARACTERS:
    return text
  left = len(text) - _MOST_CHARACTERS
  return f"{text[:_MOST_CHARACTERS]} [... {left} characters more]"
