"""What memory makes of a goal that moves, with ageing and without."""

import jax
import numpy as np
import pytest

from graphgpo_jax.credit import graph as graph_lib
from tests.credit import made_visits, random_groups

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
  step, found = made_visits.jitted_visit(**ageing), made_visits.empty()
  right, near, leaning = [], [], []
  for goal in [OLD_GOAL] * VISITS + [NEW_GOAL] * VISITS:
    inputs = made_visits.lay_out(walk_the_ring(rng, goal))
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
