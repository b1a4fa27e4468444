"""A task's whole state graph, by breadth-first search over its environment.

A group's rollouts show a part of this graph; with the whole of it one can say
what their distances miss.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit import distances
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.envs import host_states, types

DEFAULT_MAX_STATES = 2**18

# Transitions that one call computes: enough to fill a device, few enough for a
# small world not to be mostly padding.
_TRANSITIONS_PER_CALL = 2**13

# Worlds that can be explored are not deep: sweeps over all edges are few, and
# compile in a fraction of the time that a frontier takes.
_edge_distances = jax.jit(distances.edge_distances)


class TooManyStatesError(ValueError):
  """The search met more states than it was allowed to."""


@dataclasses.dataclass(frozen=True)
class TrueGraph:
  """Every state that can be reached from a task's start, and every step.

  Node 0 is SUCCESS and leads nowhere; node 1 is the start, and the others
  follow as they were found. There are K nodes and A actions.
  """

  keys: np.ndarray  # uint32 [K, 2], state key of each node; SUCCESS has none,
  #   so that its entry is 0 and means nothing
  next_node: np.ndarray  # int32 [K, A], where each action leads; NO_NODE from
  #   SUCCESS and where the rules have ended the episode
  cost: np.ndarray  # float32 [K, A], of each action, cost units
  distance: np.ndarray  # float32 [K], least cost to SUCCESS; +inf without a way

  @property
  def num_states(self) -> int:
    """States, SUCCESS not among them."""
    return len(self.keys) - 1

  def nodes_of(self, state_keys: chex.Array) -> np.ndarray:
    """Nodes of states.

    Args:
      state_keys: uint32 [..., 2].

    Returns:
      int32 [...]; NO_NODE for a key that no state of the graph has.
    """
    words = _words(np.asarray(state_keys))
    nodes, known = self._index
    place = np.minimum(np.searchsorted(known, words), len(known) - 1)
    found = np.where(known[place] == words, nodes[place], graph_lib.NO_NODE)
    return found.astype(np.int32)

  def distances_of(self, state_keys: chex.Array) -> np.ndarray:
    """Distances of states to SUCCESS.

    Args:
      state_keys: uint32 [..., 2].

    Returns:
      float32 [...], cost units; +inf for a dead end, and for a key that no
      state of the graph has.
    """
    nodes = self.nodes_of(state_keys)
    return np.where(nodes < 0, np.float32(np.inf), self.distance[nodes])

  def best_actions(self) -> np.ndarray:
    """Bool [K, A], actions on a cheapest way to SUCCESS; none at dead ends."""
    # NO_NODE, -1, is the place of the +inf behind the last node.
    beyond = np.append(self.distance, np.float32(np.inf))[self.next_node]
    through = self.cost + beyond
    return np.isfinite(through) & (through == self.distance[:, None])

  @functools.cached_property
  def _index(self) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in the order of their keys, and the keys as ascending words."""
    words = _words(self.keys[1:])
    order = np.argsort(words)
    return order + 1, words[order]


def explore(
  environment: types.Environment,
  task: Any,
  *,
  max_states: int = DEFAULT_MAX_STATES,
  seed: int = 0,
) -> TrueGraph:
  """Finds every state that can be reached from the start of a task.

  States are told apart by `state_key` alone, so that the step limit plays no
  part: one state of each key is expanded, by every action. A step that succeeds
  leads to SUCCESS; a state in which the rules end an episode without success is
  a node that leads nowhere. Distances are those of a graph with all of these
  steps, d(s) = min over actions (cost + d(s')).

  Many states are expanded at once on the device, by a program that is compiled
  once per environment; what is known already is kept on the host.

  Args:
    environment: its steps must be deterministic, and nothing but the facts in
      the state key may decide what an action does.
    task: one task (unbatched).
    max_states: states at most, SUCCESS not counted.
    seed: of the key that `reset` gets.

  Returns:
    TrueGraph.

  Raises:
    TooManyStatesError: more than `max_states` states can be reached. A key
      with the clock in it always leads here.
    ValueError: `max_states` is below 1, or the environment slips.
  """
  if max_states < 1:
    raise ValueError(f"max_states must be at least 1, got {max_states}")
  _refuse_slips(environment)
  start, start_key = _begin(environment, jax.random.key(seed), task)
  search = _Search(np.asarray(start_key), max_states)
  nodes = np.array([1])
  states = jax.tree.map(
    lambda leaf: np.asarray(leaf)[None], host_states.to_host_form(start)
  )
  size = max(_TRANSITIONS_PER_CALL // environment.spec.num_actions, 1)
  while len(nodes):
    new_nodes, new_states = [], []
    for first in range(0, len(nodes), size):
      rows = np.arange(first, min(first + size, len(nodes)))
      # Padding repeats the last row, so that one shape serves every call.
      padded = np.resize(rows, size)
      padded[len(rows) :] = rows[-1]
      chunk = jax.tree.map(lambda leaf, at=padded: leaf[at], states)
      steps = jax.device_get(
        _expand(environment, host_states.to_states(start, chunk))
      )
      count = len(rows)
      following, *facts = jax.tree.map(
        lambda leaf, count=count: leaf[:count], steps
      )
      found, places = search.add(nodes[rows], *facts)
      new_nodes.append(found)
      new_states.append(
        jax.tree.map(
          lambda leaf, at=places: leaf.reshape((-1,) + leaf.shape[2:])[at],
          following,
        )
      )
    nodes = np.concatenate(new_nodes)
    states = jax.tree.map(lambda *leaves: np.concatenate(leaves), *new_states)
  return search.graph(environment.spec.num_actions)


class _Search:
  """What is known so far."""

  def __init__(self, start_key: np.ndarray, max_states: int):
    self._max_states = max_states
    # Ascending words of the keys, and the node of each.
    self._known = _words(start_key)[None]
    self._nodes = np.array([1])
    self._keys = [start_key[None]]
    self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

  def add(
    self,
    sources: np.ndarray,
    keys: np.ndarray,
    ended: np.ndarray,
    success: np.ndarray,
    cost: np.ndarray,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Adds the steps of some states.

    Args:
      sources: int64 [C], their nodes.
      keys: uint32 [C, A, 2], of the states that the steps lead to.
      ended: bool [C, A], the rules end the episode there.
      success: bool [C, A], the step succeeds.
      cost: float32 [C, A].

    Returns:
      Nodes that are new and to be expanded, and the flat place in [C * A] of a
      step that leads to each.

    Raises:
      TooManyStatesError: there are more states than allowed.
    """
    words = _words(keys)
    flat = words.ravel()
    candidates = np.flatnonzero(~success.ravel())
    fresh, first = np.unique(flat[candidates], return_index=True)
    place = np.searchsorted(self._known, fresh)
    inside = np.minimum(place, len(self._known) - 1)
    is_new = self._known[inside] != fresh
    fresh, place = fresh[is_new], place[is_new]
    places = candidates[first[is_new]]
    count = len(self._known)
    new_nodes = count + 1 + np.arange(len(fresh))
    if count + len(fresh) > self._max_states:
      raise TooManyStatesError(
        f"more than max_states={self._max_states} states can be reached: "
        "expected a smaller world, a higher limit, or a state key without the "
        "clock"
      )
    self._known = np.insert(self._known, place, fresh)
    self._nodes = np.insert(self._nodes, place, new_nodes)
    self._keys.append(keys.reshape(-1, 2)[places])
    # A step that succeeds looks up whatever stands there, and is overwritten.
    index = np.searchsorted(self._known, words)
    targets = self._nodes[np.minimum(index, len(self._nodes) - 1)]
    targets = np.where(success, graph_lib.SUCCESS, targets)
    self._rows.append((sources, targets, cost))
    goes_on = ~ended.ravel()[places]
    return new_nodes[goes_on], places[goes_on]

  def graph(self, num_actions: int) -> TrueGraph:
    """All of it, with the distances."""
    num_nodes = len(self._known) + 1
    next_node = np.full((num_nodes, num_actions), graph_lib.NO_NODE, np.int32)
    cost = np.zeros((num_nodes, num_actions), np.float32)
    for sources, targets, costs in self._rows:
      next_node[sources] = targets
      cost[sources] = costs
    keys = np.concatenate([np.zeros((1, 2), np.uint32), *self._keys])
    return TrueGraph(
      keys=keys,
      next_node=next_node,
      cost=cost,
      distance=_distances(next_node, cost),
    )


@functools.partial(jax.jit, static_argnums=0)
def _begin(environment, key, task):
  """Start of a task, and its state key."""
  state, _ = environment.reset(key, task)
  return state, environment.state_key(state)


@functools.partial(jax.jit, static_argnums=0)
def _expand(environment, states):
  """Every action in each of C states: following states and facts, [C, A]."""

  def step(state, action):
    following, _, _, terminated, _, info = environment.step(state, action)
    return (
      host_states.to_host_form(following),
      environment.state_key(following),
      terminated,
      info.success,
      jnp.asarray(getattr(info, "cost", 1.0), jnp.float32),
    )

  actions = jnp.arange(environment.spec.num_actions, dtype=jnp.int32)
  every_action = jax.vmap(step, (None, 0))
  return jax.vmap(every_action, (0, None))(states, actions)


def _distances(next_node: np.ndarray, cost: np.ndarray) -> np.ndarray:
  """Distance [K] of each node, from the steps [K, A]."""
  num_nodes, num_actions = next_node.shape
  # Powers of two: few sizes are compiled.
  size = 1 << (num_nodes - 1).bit_length()
  source = np.repeat(np.arange(num_nodes, dtype=np.int32), num_actions)
  target = next_node.ravel()
  mask = target >= 0
  padding = (0, (size - num_nodes) * num_actions)

  def pad(values, fill):
    return np.pad(values, padding, constant_values=fill)

  graph = graph_lib.StateGraph(
    source=pad(np.where(mask, source, graph_lib.NO_NODE), graph_lib.NO_NODE),
    target=pad(target, graph_lib.NO_NODE),
    cost=pad(np.where(mask, cost.ravel(), np.float32(np.inf)), np.inf),
    mask=pad(mask, False),
    node_mask=np.arange(size) < num_nodes,
    num_nodes=np.int32(num_nodes),
    overflow=np.int32(0),
  )
  return np.asarray(_edge_distances(graph))[:num_nodes]


def _refuse_slips(environment: Any) -> None:
  """Raises ValueError if the environment, or one inside it, slips."""
  while environment is not None:
    slip = float(getattr(environment, "slip", 0.0))
    if slip:
      raise ValueError(
        f"a true graph needs deterministic steps: expected slip 0, got {slip}"
      )
    environment = getattr(environment, "environment", None)


def _words(keys: np.ndarray) -> np.ndarray:
  """Both lanes of keys uint32 [..., 2] in one word, uint64 [...]."""
  lanes = keys.astype(np.uint64)
  return (lanes[..., 0] << np.uint64(32)) | lanes[..., 1]
