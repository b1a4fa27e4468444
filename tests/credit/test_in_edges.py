import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import in_edges
from tests.credit import random_groups, rules, transforms

build_graph = jax.jit(functools.partial(graph_lib.build_graph, max_nodes=10))
jitted = jax.jit(in_edges.in_edges)


def random_graph(seed):
  group = random_groups.random_group(seed, kind="float")
  steps, _ = random_groups.lay_out(group, 50, rng=np.random.default_rng(seed))
  return build_graph(steps)


@pytest.mark.parametrize("seed", range(8))
def test_slices_hold_the_edges_of_their_node(seed):
  graph = random_graph(seed)
  found = jitted(graph)
  offsets = np.asarray(found.offsets)
  for node in range(10):
    part = slice(offsets[node], offsets[node + 1])
    mine = np.asarray(graph.mask & (graph.target == node))
    np.testing.assert_array_equal(found.source[part], graph.source[mine])
    np.testing.assert_array_equal(found.cost[part], graph.cost[mine])
  used = int(graph.mask.sum())
  assert offsets[0] == 0 and offsets[-1] == used < 50
  assert np.all(np.asarray(found.source[used:]) == graph_lib.NO_NODE)
  assert np.all(np.isinf(found.cost[used:]))


def test_edges_of_no_sensible_cost_are_left_out():
  graph = random_graph(1)
  cost = np.array(graph.cost)
  valid = np.flatnonzero(graph.mask)
  cost[valid[0]], cost[valid[1]] = -0.5, np.nan
  found = jitted(graph.replace(cost=jnp.array(cost)))
  assert found.offsets[-1] == len(valid) - 2
  assert np.all(np.asarray(found.cost) >= 0)


def test_no_edges():
  empty = jnp.zeros(0)
  graph = graph_lib.StateGraph(
    source=empty.astype(int),
    target=empty.astype(int),
    cost=empty,
    mask=empty.astype(bool),
    node_mask=jnp.ones(3, bool),
    num_nodes=jnp.int32(3),
    overflow=jnp.int32(0),
  )
  assert in_edges.in_edges(graph).offsets.tolist() == [0, 0, 0, 0]


def test_too_many_edges():
  class Long:
    shape = (2**30,)

  graph = dataclasses.replace(random_graph(0), source=Long())
  with pytest.raises(ValueError, match="1073741823 edges fit, got 1073741824"):
    in_edges.in_edges(graph)


@pytest.mark.parametrize(
  ("number", "bound"),
  [(1, 1), (1, 9), (2, 3), (100, 7), (5000, 4), (5000, 2**31 - 1)],
)
@pytest.mark.parametrize("kind", ["words", "payload"])
def test_orders_sort_stably(kind, number, bound):
  keys = np.random.default_rng(number).integers(0, bound, number)
  keys = keys.astype(np.int32)
  if kind == "words":
    found = in_edges.packed_order(jnp.array(keys), bound=bound)
  else:
    found = in_edges._payload_order(jnp.array(keys))
  assert found.dtype == jnp.int32
  np.testing.assert_array_equal(found, np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  steps, _ = random_groups.batch(range(8), kind="float")

  def function(steps):
    graph = graph_lib.build_graph(steps, max_nodes=10)
    return in_edges.in_edges(graph)

  expected = transforms.reference(function, steps)
  rules.assert_same_under(transform, function, (steps,), expected)


def test_traced_once():
  steps, _ = random_groups.batch(range(3), kind="float")

  def function(steps):
    graph = graph_lib.build_graph(steps, max_nodes=10)
    return in_edges.in_edges(graph)

  transforms.assert_traced_once(function, (steps,))


def test_no_gradient():
  graph = random_graph(2)

  def total(cost):
    return jnp.sum(
      jnp.where(
        jnp.isfinite(cost), in_edges.in_edges(graph.replace(cost=cost)).cost, 0
      )
    )

  value, gradient = jax.jit(jax.value_and_grad(total))(graph.cost)
  assert value > 0 and not gradient.any()
