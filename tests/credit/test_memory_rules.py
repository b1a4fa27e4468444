import jax
import jax.numpy as jnp
import pytest

from graphgpo_jax.credit import distances, estimators, memory, memory_graph
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit.estimators.memory import cross_time_advantage
from tests.credit import made_visits, random_groups, rules, transforms


def eight():
  """Memories, steps and keys of eight tasks that were visited once."""
  batch = []
  for seed in range(transforms.NUM_DEVICES):
    groups = made_visits.sequence(seed, number=2)
    first, second = (made_visits.lay_out(group) for group in groups)
    before, *_ = made_visits.jitted_visit()(made_visits.empty(), *first)
    batch.append((before, *second))
  return random_groups.stack(batch)


def aged(before, steps, *keys):
  """All there is for one task, but what graphgpo's own tests hold."""
  after = memory.remember(before, steps, *keys, max_age=2)
  union = memory_graph.union_graph(after, steps, *keys, fade=2.0)
  graph = graph_lib.build_graph(union.steps, max_nodes=union.known.shape[0])
  backup = memory_graph.with_stored_edges(
    union.stored, distances.edge_distances
  )
  scores, scores_mask = estimators.frozen_scores(steps)
  advantage = cross_time_advantage(
    steps, jnp.zeros_like(scores), before.scores, before.scores_mask
  )
  return after, union, backup(graph), advantage, scores, scores_mask


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(aged, *eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, aged, eight(), expected, rtol=1e-4, atol=1e-4
  )


def test_traced_once():
  transforms.assert_traced_once(aged, eight())


def test_a_memory_may_be_given_away():
  one = jax.tree.map(lambda leaf: leaf[0], eight())
  kept = made_visits.jitted_remember()(*one)
  given = jax.device_put(one[0])
  found = jax.jit(memory.remember, donate_argnums=0)(given, *one[1:])
  transforms.assert_same(found, kept)
  assert given.source.is_deleted() and given.mask.is_deleted()


def test_no_gradient():
  before, steps, *keys = jax.tree.map(lambda leaf: leaf[0], eight())

  def aged_of(cost, episode_return):
    after, _, distance, advantage, *_ = aged(
      before, steps.replace(cost=cost, episode_return=episode_return), *keys
    )
    finite = jnp.where(jnp.isfinite(distance), distance, 0.0)
    return after.cost, finite, advantage

  rules.assert_no_gradient(aged_of, steps.cost, steps.episode_return)
