"""Memory across visits against dicts, and what it is for: distances."""

import collections
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.credit import (
  distances,
  estimators,
  memory,
  memory_graph,
  memory_store,
)
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit.estimators.memory import cross_time_advantage
from tests import oracle, test_golden
from tests.credit import random_groups, transforms

NUM_ENTRIES = 48
ROOM = 64
# Fingerprints that tie in either lane; that of a state stands in its row.
KEYS = np.stack([np.arange(32) % 3, np.arange(32) // 3], 1).astype(np.uint32)
HALF = {"omega": 0.5, "invalid_penalty": 0.25}


def lay_out(group, **options):
  """Steps, and the fingerprints of their ends."""
  steps, _ = random_groups.lay_out(group, NUM_ENTRIES, **options)
  keys = [
    KEYS[np.clip(ends, 0, len(KEYS) - 1)]
    for ends in (steps.source, steps.target)
  ]
  return steps, *keys


def visit(before, steps, source_key, target_key, *, fade=1.0, **options):
  """A visit as training has it: memory, union, distances, credit."""
  scores, scores_mask = estimators.frozen_scores(
    steps, invalid_penalty=HALF["invalid_penalty"]
  )
  after = memory.remember(
    before,
    steps,
    source_key,
    target_key,
    scores=scores,
    scores_mask=scores_mask,
    **options,
  )
  union = memory_graph.union_graph(
    after, steps, source_key, target_key, fade=fade, fade_after=1
  )
  credit, graph, distance = estimators.credit_group(
    union.steps,
    estimators.tigpo,
    max_nodes=union.known.shape[0],
    backup=memory_graph.with_stored_edges(
      union.stored, distances.edge_distances
    ),
    past_scores=before.scores,
    past_mask=before.scores_mask,
    **HALF,
  )
  return after, union, credit, graph, distance


@functools.cache
def jitted_visit(**options):
  return jax.jit(functools.partial(visit, **options))


@functools.cache
def jitted_remember(**options):
  return jax.jit(functools.partial(memory.remember, **options))


@functools.cache
def empty(room=ROOM):
  return memory.empty_memory(max_edges=room, max_scores=NUM_ENTRIES)


class Dicts:
  """What the memory of a task must hold, by (source, target)."""

  def __init__(self, *, room=ROOM, max_age=None, keep_cheapest=False):
    self.room, self.max_age, self.cheapest = room, max_age, keep_cheapest
    self.edges, self.visits, self.evicted = {}, 0, 0

  def visit(self, group):
    self.visits += 1
    met = collections.defaultdict(list)
    for one in group:
      for source, target, cost in zip(
        one["source"], one["target"], one["cost"], strict=True
      ):
        met[int(source), int(target)].append(float(cost))
    for edge, costs in met.items():
      old = self.edges.get(edge)
      cost, first, count = min(costs), self.visits, len(costs)
      if old is not None:
        first, count = old["first"], count + old["count"]
        cost = min(cost, old["cost"]) if self.cheapest else cost
      self.edges[edge] = {
        "cost": cost,
        "first": first,
        "seen": self.visits,
        "count": count,
      }
    alive = [
      edge
      for edge, found in self.edges.items()
      if self.max_age is None or self.visits - found["seen"] < self.max_age
    ]
    alive.sort(key=self.order)
    self.evicted += max(len(alive) - self.room, 0)
    self.edges = {edge: self.edges[edge] for edge in alive[: self.room]}

  def order(self, edge):
    source, target = edge
    found, won = self.edges[edge], target == graph_lib.SUCCESS
    lanes = (0, 0) if won else tuple(KEYS[target])
    return -found["seen"], -found["count"], *KEYS[source], won, *lanes

  def faded(self, fade, fade_after=1):
    """(source, target, cost) of every edge, its cost grown with its age."""
    for (source, target), found in self.edges.items():
      late = max(self.visits - found["seen"] - fade_after, 0)
      yield source, target, found["cost"] * fade**late


def assert_holds(found, expected):
  """The memory is that of the dicts, in order, and blank behind it."""
  found = jax.device_get(found)
  number = len(expected.edges)
  assert found.mask.tolist() == [k < number for k in range(len(found.mask))]
  for at, ((source, target), edge) in enumerate(expected.edges.items()):
    won = target == graph_lib.SUCCESS
    assert found.source[at].tolist() == KEYS[source].tolist()
    assert found.target[at].tolist() == [0, 0] if won else KEYS[target].tolist()
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
  room = options.pop("room", ROOM)
  step = jitted_remember(**options)
  for seed in range(6):
    rng = np.random.default_rng(seed)
    found, expected = empty(room), Dicts(room=room, **options)
    for number in range(7):
      group = random_groups.random_group(100 * seed + number, max_states=5)
      found = step(found, *lay_out(group, rng=rng))
      expected.visit(group)
      assert_holds(found, expected)
    if name == "few":
      assert expected.evicted > 0
    if name == "this visit alone":
      assert (memory.edge_ages(found) == 0).all()


def sequence(seed, number=4, **options):
  """Groups of one task in small costs that add up exactly."""
  return [
    random_groups.random_group(100 * seed + at, kind="dyadic", **options)
    for at in range(number)
  ]


@pytest.mark.parametrize("fade", [1.0, 2.0])
def test_distances_are_those_of_the_union(fade):
  helped = 0
  for seed in range(12):
    found, expected = empty(), Dicts()
    for group in sequence(seed):
      inputs = lay_out(group)
      before = expected.edges.keys() | set()
      found, union, credit, graph, distance = jax.device_get(
        jitted_visit(fade=fade)(found, *inputs)
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


def test_independent_of_the_order_of_rollouts_and_of_padding():
  rng = np.random.default_rng(0)
  step = jitted_remember(max_age=2)
  for seed in range(4):
    one, other = empty(room=12), empty(room=12)
    for group in sequence(seed):
      one = step(one, *lay_out(group))
      shuffled = lay_out(group, order=rng.permutation(len(group)), rng=rng)
      other = step(other, *shuffled)
    assert one.mask.any()
    transforms.assert_same(other, one)


def test_a_limit_on_nodes_is_reported():
  steps, *keys = lay_out([random_groups.rollout([1, 2, 3], [2, 3, 4])])
  after = jitted_remember()(empty(), steps, *keys)
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
  step = jitted_remember()
  first = lay_out([random_groups.rollout([1, 2], [2, 0], cost=[3.0, 0.0])])
  found = step(empty(), *first)
  for other in (3, 4, 4, 5)[1:]:
    later = lay_out([random_groups.rollout([other], [0], cost=[1.0])])
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
    assert costs[4:].tolist() == [math.inf] * (ROOM - 4)
    assert sorted(costs[:4].tolist()) == sorted(expected)
  union = jax.jit(functools.partial(memory_graph.union_graph, fade=3e30))(
    found, *first
  )
  assert union.stored.mask.sum() == 3 and union.stored.overflow == 1


def test_an_empty_visit_is_none():
  (group, *_) = sequence(0)
  before = jitted_visit()(empty(), *lay_out(group))[0]
  assert before.scores_mask.any()
  steps, *keys = lay_out(group, rng=np.random.default_rng(0))
  steps = steps.replace(mask=np.zeros_like(steps.mask))
  after = jitted_visit()(before, steps, *keys)[0]
  transforms.assert_same(after, before)


def test_finite_at_the_edge_of_sense():
  corners, names = random_groups.corner_steps(NUM_ENTRIES)
  keys = [
    KEYS[np.clip(ends, 0, len(KEYS) - 1)]
    for ends in (corners.source, corners.target)
  ]
  step = jitted_visit(fade=2.0)
  found = empty()
  for at in (*range(len(names)), *range(len(names))):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], (corners, *keys))
    found, _, credit, _, distance = step(found, *one)
    for leaf in jax.tree.leaves((found, credit)):
      assert np.isfinite(leaf).all(), names[at]
    assert not np.isnan(distance).any()


def test_the_store_gives_out_slots():
  """Free ones first, then that of the task which was claimed longest ago."""
  size, rng = 3, np.random.default_rng(0)
  store = memory_store.empty_store(size, max_edges=4, max_scores=2)
  assert store.source.shape == (size, 4, 2)
  expected = collections.OrderedDict()
  claim = jax.jit(memory_store.claim_slot, donate_argnums=0)
  find = jax.jit(memory_store.slot_of)

  @jax.jit
  def use(store, slot, visits):
    one = memory_store.take(store, slot)
    return memory_store.put(store, slot, one.replace(visits=visits)), one.visits

  for _ in range(40):
    task = int(rng.integers(0, 6))
    known = find(store, KEYS[task])
    assert known == expected.get(task, memory_store.NO_SLOT)
    if task in expected:
      expected.move_to_end(task)
    elif len(expected) < size:
      expected[task] = len(expected)
    else:
      expected[task] = expected.popitem(last=False)[1]
    store, slot = claim(store, KEYS[task])
    assert slot == expected[task]
    # A memory that was taken over is blank, one's own is as it was left.
    store, visits = use(store, slot, jnp.int32(1 + task))
    assert visits == (0 if known == memory_store.NO_SLOT else 1 + task)


@pytest.mark.parametrize(
  "call, words",
  [
    (lambda: memory.empty_memory(max_edges=0), "max_edges must be at least 1"),
    (lambda: memory.empty_memory(max_edges=1, max_scores=-1), "max_scores"),
    (lambda: memory_store.empty_store(0, max_edges=1), "num_tasks"),
    (lambda: memory.faded_costs(empty(), fade=0.5), "fade must be at least 1"),
    (lambda: memory.faded_costs(empty(), fade=math.nan), "fade must be"),
    (lambda: memory.faded_costs(empty(), fade_after=-1), "fade_after"),
    (
      lambda: memory.remember(empty(), *lay_out(sequence(0)[0]), max_age=0),
      "max_age must be at least 1",
    ),
    (
      lambda: memory.remember(
        empty(), *lay_out(sequence(0)[0]), scores=jnp.zeros((5,))
      ),
      r"scores must have the shape \(48,\).*got \(5,\)",
    ),
    (
      lambda: estimators.tigpo(
        lay_out(sequence(0)[0])[0], None, None, past_mask=jnp.ones(3, bool)
      ),
      "past_mask needs past_scores",
    ),
  ],
)
def test_bad_arguments_are_named(call, words):
  with pytest.raises(ValueError, match=words):
    call()


# A ring of states, walked at random from state 1; entering the goal succeeds.
RING, OLD_GOAL, NEW_GOAL = 8, 4, 7
VISITS = 10


def walk_the_ring(rng, goal, *, num_rollouts=4, num_steps=12):
  group = []
  for _ in range(num_rollouts):
    states = [1]
    while len(states) <= num_steps and states[-1] != graph_lib.SUCCESS:
      state = 1 + (states[-1] - 1 + rng.choice([-1, 1])) % RING
      states.append(graph_lib.SUCCESS if state == goal else state)
    group.append(random_groups.rollout(states[:-1], states[1:]))
  return group


def move_the_goal(seed, **ageing):
  """What is thought of the ring, visit by visit; the goal moves half-way.

  Returns:
    Three arrays [2 * VISITS]: the share of states whose distance is the true
    one, whether one is thought nearer than it is, and how much better the step
    from state 2 towards the old goal is made to look than the one back.
  """
  rng = np.random.default_rng(seed)
  step, found = jitted_visit(**ageing), empty()
  right, near, leaning = [], [], []
  for goal in [OLD_GOAL] * VISITS + [NEW_GOAL] * VISITS:
    inputs = lay_out(walk_the_ring(rng, goal))
    found, union, credit, _, distance = jax.device_get(step(found, *inputs))
    steps = inputs[0]
    thought = {
      int(state): distance[node]
      for state, node in zip(steps.source, union.steps.source, strict=True)
      if node >= 0
    }
    true = {
      state: min(abs(state - goal), RING - abs(state - goal))
      for state in thought
    }
    right.append(np.mean([thought[state] == true[state] for state in true]))
    near.append(any(thought[state] < true[state] for state in true))
    advance = np.where(steps.target == 3, 1, -1) * credit.step_advantage
    leaning.append(advance[steps.source == 2].sum())
  return np.array(right), np.array(near), np.array(leaning)


AGE = 5
AGEING = {"dropped": {"max_age": AGE}, "faded": {"fade": 2.0}}
# Visits by which what is no longer true must be forgotten.
LATER = slice(VISITS + AGE, None)


@pytest.mark.parametrize("seed", range(3))
def test_a_goal_that_moves_is_not_unlearnt_without_ageing(seed):
  right, near, leaning = move_the_goal(seed)
  assert right[VISITS - 1] == 1 and not near[:VISITS].any()
  assert near[LATER].all() and right[LATER].max() < 1
  assert leaning[LATER].sum() > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AGEING)
def test_a_goal_that_moves_is_unlearnt_by_ageing(name, seed):
  right, near, leaning = move_the_goal(seed, **AGEING[name])
  assert not near[:VISITS].any()
  # The move itself takes by surprise.
  assert near[VISITS]
  assert not near[LATER].any()
  assert right[LATER].mean() > 0.85
  assert leaning[VISITS - AGE : VISITS].sum() > 0 > leaning[LATER].sum()


@pytest.mark.slow
def test_a_store_knows_more_than_a_visit():
  """Why not drop everything at once: one visit seldom sees the whole way."""

  def known(max_age):
    shares = [move_the_goal(seed, max_age=max_age)[0] for seed in range(3)]
    return np.mean([share[LATER] for share in shares])

  assert known(1) < known(AGE) - 0.05


@pytest.mark.parametrize(
  "path", test_golden.CASES[::12], ids=lambda path: path.stem
)
def test_tigpo_without_stored_graphs_is_graphgpo(path):
  case = test_golden.load(path)
  options = {
    name: case[name]
    for name in (
      *test_golden.COMMON,
      "omega",
      "normalize_distance",
      "step_weight",
      "episode_weight",
    )
  }
  found, expected = (
    tables.assign_credit(case["steps"], name, **options)
    for name in ("tigpo", "graphgpo")
  )
  assert found.keys() == expected.keys()
  for name, column in expected.items():
    np.testing.assert_array_equal(found[name], column, err_msg=name)


@functools.cache
def jitted_credit(estimator, **options):
  """`steps -> Credit`, or with an earlier visit `(steps, past, mask)`."""

  def credit_of(steps, past=None, past_mask=None):
    scores = {"past_scores": past, "past_mask": past_mask}
    return estimators.credit_group(
      steps,
      estimator,
      max_nodes=NUM_ENTRIES,
      backup=distances.edge_distances,
      **options,
      **(scores if past is not None else {}),
    )[0]

  return jax.jit(credit_of)


def test_the_first_visit_is_that_of_graphgpo():
  step, credit_of = jitted_visit(), jitted_credit(estimators.graphgpo, **HALF)
  for seed in range(10):
    steps, *keys = lay_out(random_groups.random_group(seed))
    _, union, credit, *_ = step(empty(), steps, *keys)
    expected = credit_of(steps)
    transforms.assert_same(credit, expected, atol=1e-6)
    assert union.known.sum() == 1


_STATIC = ("invalid_penalty", "per_rollout")
freeze = jax.jit(estimators.frozen_scores, static_argnames=_STATIC)


@functools.partial(jax.jit, static_argnames=_STATIC)
def compare(steps, past, past_mask, *, invalid_penalty, per_rollout):
  penalty = invalid_penalty * (steps.mask & ~steps.action_valid)
  return cross_time_advantage(
    steps, penalty, past, past_mask, per_rollout=per_rollout
  )


@pytest.mark.parametrize("per_rollout", [False, True])
def test_scores_of_two_visits_are_compared_together(per_rollout):
  """Against NumPy: mean and sample deviation over both visits."""
  penalty = 0.5
  options = {"invalid_penalty": penalty, "per_rollout": per_rollout}
  for seed in range(20):
    groups = sequence(seed, number=2)
    scores = []
    for group in groups:
      for one in group:
        of_steps = one["episode_return"] - penalty * ~one["action_valid"]
        scores += [one["episode_return"][:1] if per_rollout else of_steps]
    scores = np.concatenate(scores).astype(float)
    earlier, now = (lay_out(group)[0] for group in groups)
    found = compare(now, *freeze(earlier, **options), **options)
    own = np.asarray(now.episode_return, float)
    if not per_rollout:
      own = own - penalty * ~now.action_valid
    expected = np.zeros(NUM_ENTRIES)
    if len(scores) == 1:
      expected = own / (1 + 1e-6)
    elif scores.max() > scores.min():
      expected = (own - scores.mean()) / (scores.std(ddof=1) + 1e-6)
    expected = np.where(now.mask, expected, 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_earlier_failure_makes_a_success_count():
  won = [random_groups.rollout([1, 2], [2, 0])] * 3
  lost = [random_groups.rollout([1, 2], [2, 3])] * 3

  options = {"invalid_penalty": 0.5, "per_rollout": False}

  def episode_part(now, earlier):
    steps = lay_out(now)[0]
    past = freeze(lay_out(earlier)[0], **options)
    credit = jitted_credit(
      estimators.tigpo, **options, step_weight=0.5, episode_weight=2.0
    )(steps, *past)
    found = compare(steps, *past, **options)
    np.testing.assert_array_equal(credit.episode_advantage, found)
    np.testing.assert_allclose(
      credit.advantage, 0.5 * credit.step_advantage + 2.0 * found, rtol=1e-6
    )
    return np.asarray(found)[steps.mask]

  assert (episode_part(won, lost) > 0.5).all()
  assert (episode_part(lost, won) < -0.5).all()
  # Equal values give 0 to the last bit.
  assert not episode_part(won, won).any()
  assert not episode_part(lost, lost).any()


def eight():
  """Memories, steps and keys of eight tasks that were visited once."""
  step, batch = jitted_visit(), []
  for seed in range(transforms.NUM_DEVICES):
    first, second = sequence(seed, number=2)
    batch.append((step(empty(), *lay_out(first))[0], *lay_out(second)))
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
  found = transforms.TRANSFORMS[transform](aged)(*eight())
  transforms.assert_same(found, expected, rtol=1e-4, atol=1e-4)


def test_traced_once():
  transforms.assert_traced_once(aged, eight())


def test_a_memory_may_be_given_away():
  one = jax.tree.map(lambda leaf: leaf[0], eight())
  kept = jitted_remember()(*one)
  given = jax.device_put(one[0])
  found = jax.jit(memory.remember, donate_argnums=0)(given, *one[1:])
  transforms.assert_same(found, kept)
  assert given.source.is_deleted() and given.mask.is_deleted()


def test_no_gradient():
  before, steps, *keys = jax.tree.map(lambda leaf: leaf[0], eight())

  def total(cost, episode_return):
    after, union, distance, advantage, scores, _ = aged(
      before, steps.replace(cost=cost, episode_return=episode_return), *keys
    )
    finite = jnp.where(jnp.isfinite(distance), distance, 0.0)
    return sum(map(jnp.sum, (after.cost, finite, advantage)))

  for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(
    steps.cost, steps.episode_return
  ):
    assert not gradient.any()
