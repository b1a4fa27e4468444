"""Distances over what is stored and what is seen."""

import functools
import math

import jax
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import memory, memory_graph
from tests import oracle
from tests.credit import made_visits, memory_oracle, random_groups


@pytest.mark.parametrize("fade", [1.0, 2.0])
def test_distances_are_those_of_the_union(fade):
  helped = 0
  for seed in range(12):
    found, expected = made_visits.empty(), memory_oracle.Dicts()
    for group in made_visits.sequence(seed):
      inputs = made_visits.lay_out(group)
      before = expected.edges.keys() | set()
      found, union, credit, graph, distance = jax.device_get(
        made_visits.jitted_visit(fade=fade)(found, *inputs)
      )
      expected.visit(group)
      edges = list(expected.faded(fade))
      best = oracle.shortest_distances(edges, sink=graph_lib.SUCCESS)
      alone = oracle.shortest_distances(
        [(s, t, c) for one in group for s, t, c in edges_of(one)],
        sink=graph_lib.SUCCESS,
      )
      steps, ids = inputs[0], {graph_lib.SUCCESS: graph_lib.SUCCESS}
      assert union.overflow == 0 and union.stored.overflow == 0
      for at in np.flatnonzero(steps.mask):
        for end in ("source", "target"):
          state = int(getattr(steps, end)[at])
          node = int(getattr(union.steps, end)[at])
          assert ids.setdefault(state, node) == node
          assert distance[node] == best.get(state, math.inf)
          helped += best.get(state, math.inf) < alone.get(state, math.inf)
      assert len(set(ids.values())) == len(ids)
      stored = {state for edge in before for state in edge} | {0}
      for state, node in ids.items():
        assert union.known[node] == (state in stored)
      # What is stored makes no step: the graph is that of this visit.
      assert graph.mask.sum() == steps.mask.sum()
      assert not credit.advantage[~steps.mask].any()
  assert helped > 20


def edges_of(one):
  return zip(
    one["source"].tolist(),
    one["target"].tolist(),
    one["cost"].tolist(),
    strict=True,
  )


def test_a_limit_on_nodes_is_reported():
  steps, *keys = made_visits.lay_out(
    [random_groups.rollout([1, 2, 3], [2, 3, 4])]
  )
  after = made_visits.jitted_remember()(made_visits.empty(), steps, *keys)
  union = jax.jit(functools.partial(memory_graph.union_graph, max_nodes=3))(
    after, steps, *keys
  )
  # Of states 1 to 4 two have an id; each entry of the others is counted, that
  # of the steps and that of the store.
  assert union.overflow == 6 and union.stored.overflow == 3
  assert union.known.tolist() == [True, False, False]
  assert union.steps.source.max() < 3 and union.stored.target.max() < 3


def test_costs_of_edges_that_are_not_seen():
  """Edges of age 3 cost 3 and 0, one of age 1 and one of age 0 cost 1."""
  step = made_visits.jitted_remember()
  first = made_visits.lay_out(
    [random_groups.rollout([1, 2], [2, 0], cost=[3.0, 0.0])]
  )
  found = step(made_visits.empty(), *first)
  for other in (3, 4, 4, 5)[1:]:
    later = made_visits.lay_out(
      [random_groups.rollout([other], [0], cost=[1.0])]
    )
    found = step(found, *later)
  assert memory.edge_ages(found)[:5].tolist() == [0, 1, 3, 3, 0]
  grown = {
    (2.0, 1): [1.0, 1.0, 0.0, 12.0],
    (2.0, 0): [1.0, 2.0, 0.0, 24.0],
    (1.0, 0): [1.0, 1.0, 0.0, 3.0],
    # A factor past all bounds: what has no cost stays, what has is gone.
    (3e30, 0): [1.0, float(np.float32(3e30)), 0.0, math.inf],
  }
  for (fade, fade_after), expected in grown.items():
    costs = memory.faded_costs(found, fade=fade, fade_after=fade_after)
    assert costs[4:].tolist() == [math.inf] * (made_visits.ROOM - 4)
    assert sorted(costs[:4].tolist()) == sorted(expected)
  union = jax.jit(functools.partial(memory_graph.union_graph, fade=3e30))(
    found, *first
  )
  assert union.stored.mask.sum() == 3 and union.stored.overflow == 1


def test_finite_at_the_edge_of_sense():
  corners, names = random_groups.corner_steps(made_visits.NUM_ENTRIES)
  keys = made_visits.keys_of(corners)
  step = made_visits.jitted_visit(fade=2.0)
  found = made_visits.empty()
  for at in (*range(len(names)), *range(len(names))):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], (corners, *keys))
    found, _, credit, _, distance = step(found, *one)
    for leaf in jax.tree.leaves((found, credit)):
      assert np.isfinite(leaf).all(), names[at]
    assert not np.isnan(distance).any()
