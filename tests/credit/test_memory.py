"""What a memory holds, against dicts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import estimators, memory, memory_store
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import made_visits, memory_oracle, random_groups, transforms


def assert_holds(found, expected):
  """The memory is that of the dicts, in order, and blank behind it."""
  found = jax.device_get(found)
  number = len(expected.edges)
  assert found.mask.tolist() == [k < number for k in range(len(found.mask))]
  for at, ((source, target), edge) in enumerate(expected.edges.items()):
    won = target == graph_lib.SUCCESS
    assert found.source[at].tolist() == made_visits.KEYS[source].tolist()
    lanes = [0, 0] if won else made_visits.KEYS[target].tolist()
    assert found.target[at].tolist() == lanes
    assert found.to_success[at] == won
    for name, value in edge.items():
      assert getattr(found, name)[at] == value, (at, name)
  for name in ("source", "target", "to_success", "cost", "first", "seen"):
    assert not getattr(found, name)[number:].any(), name
  assert found.visits == expected.visits
  assert found.evicted == expected.evicted


SETTINGS = {
  "all": {},
  "cheapest": {"keep_cheapest": True},
  "few": {"room": 7},
  "young": {"max_age": 2, "room": 12},
  "this visit alone": {"max_age": 1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_equals_the_dicts_over_random_visits(name):
  options = dict(SETTINGS[name])
  room = options.pop("room", made_visits.ROOM)
  step = made_visits.jitted_remember(**options)
  for seed in range(6):
    rng = np.random.default_rng(seed)
    found = made_visits.empty(room)
    expected = memory_oracle.Dicts(room=room, **options)
    for number in range(7):
      group = random_groups.random_group(100 * seed + number, max_states=5)
      found = step(found, *made_visits.lay_out(group, rng=rng))
      expected.visit(group)
      assert_holds(found, expected)
    if name == "few":
      assert expected.evicted > 0
    if name == "this visit alone":
      assert (memory.edge_ages(found) == 0).all()


def test_independent_of_the_order_of_rollouts_and_of_padding():
  rng = np.random.default_rng(0)
  step = made_visits.jitted_remember(max_age=2)
  for seed in range(4):
    one, other = made_visits.empty(room=12), made_visits.empty(room=12)
    for group in made_visits.sequence(seed):
      one = step(one, *made_visits.lay_out(group))
      shuffled = made_visits.lay_out(
        group, order=rng.permutation(len(group)), rng=rng
      )
      other = step(other, *shuffled)
    assert one.mask.any()
    transforms.assert_same(other, one)


def test_an_empty_visit_is_none():
  (group, *_) = made_visits.sequence(0)
  before = made_visits.jitted_visit()(
    made_visits.empty(), *made_visits.lay_out(group)
  )[0]
  assert before.scores_mask.any()
  steps, *keys = made_visits.lay_out(group, rng=np.random.default_rng(0))
  steps = steps.replace(mask=np.zeros_like(steps.mask))
  after = made_visits.jitted_visit()(before, steps, *keys)[0]
  transforms.assert_same(after, before)


def some_visit():
  return made_visits.lay_out(made_visits.sequence(0)[0])


@pytest.mark.parametrize(
  "call, words",
  [
    (lambda: memory.empty_memory(max_edges=0), "max_edges must be at least 1"),
    (lambda: memory.empty_memory(max_edges=1, max_scores=-1), "max_scores"),
    (lambda: memory_store.empty_store(0, max_edges=1), "num_tasks"),
    (
      lambda: memory.faded_costs(made_visits.empty(), fade=0.5),
      "fade must be at least 1",
    ),
    (
      lambda: memory.faded_costs(made_visits.empty(), fade=math.nan),
      "fade must be",
    ),
    (
      lambda: memory.faded_costs(made_visits.empty(), fade_after=-1),
      "fade_after",
    ),
    (
      lambda: memory.remember(made_visits.empty(), *some_visit(), max_age=0),
      "max_age must be at least 1",
    ),
    (
      lambda: memory.remember(
        made_visits.empty(),
        *some_visit(),
        scores=jnp.zeros((5,)),
      ),
      r"scores must have the shape \(48,\).*got \(5,\)",
    ),
    (
      lambda: estimators.tigpo(
        some_visit()[0],
        None,
        None,
        past_mask=jnp.ones(3, bool),
      ),
      "past_mask needs past_scores",
    ),
  ],
)
def test_bad_arguments_are_named(call, words):
  with pytest.raises(ValueError, match=words):
    call()
