"""Costs on their way from the environment to credit and evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import estimators
from graphgpo_jax.envs import panels
from graphgpo_jax.envs.household import Household, observation
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import evaluation, update

# Whole runs: test-all.
pytestmark = pytest.mark.slow

PLACES, THINGS, HORIZON = 4, 3, 10
FAST_COST = 8.0


@functools.cache
def world(courier=True):
  environment = Household(
    num_receptacles=PLACES,
    num_objects=THINGS,
    horizon=HORIZON,
    courier=courier,
    step_cost=2.0 if courier else 1.0,
    fast_cost=FAST_COST if courier else None,
  )
  return environment, panels.make_panel(environment, seed=6, size=16)


def apply_courier(params, seen):
  """Calls the courier, then brings the object to the first goal place.

  `params` is added to the logit of calling and of putting; at -100 for the
  latter the chore is never done.
  """
  tokens = seen.tokens
  places = tokens[..., 1 : 1 + PLACES, :]
  is_goal = places[..., observation.Feature.IS_GOAL] == 2
  here = places[..., observation.Feature.HERE] == 2
  shut = places[..., observation.Feature.DOOR] == 2
  first = is_goal & (jnp.cumsum(is_goal, axis=-1) == 1)
  holding = tokens[..., 0, observation.Feature.HAND] > 1
  there = jnp.any(first & here, axis=-1)
  closed = jnp.any(first & here & shut, axis=-1)
  go = first & (holding & ~there)[..., None]
  verbs = jnp.zeros((*holding.shape, words.NUM_VERBS), bool)
  verbs = verbs.at[..., words.VERBS.index("open")].set(closed & holding)
  verbs = verbs.at[..., words.VERBS.index("put")].set(there & ~closed & holding)
  nothing = jnp.zeros((*holding.shape, THINGS), bool)
  wanted = jnp.concatenate([go, nothing, verbs, ~holding[..., None]], axis=-1)
  logits = jnp.where(wanted, 50.0, 0.0)
  put = PLACES + THINGS + words.VERBS.index("put")
  return logits.at[..., -1].add(params[0]).at[..., put].add(params[1])


def evaluate(params, courier=True):
  environment, panel = world(courier)
  played = jax.jit(evaluation.make_evaluate(environment, apply_courier, panel))(
    jnp.asarray(params), jax.random.key(0)
  )
  return {name: float(value) for name, value in played.items()}


def test_evaluation_tells_what_success_costs_and_who_was_called():
  _, panel = world()
  place = np.argmax(
    panel.receptacle_types == panel.goal_receptacle[:, None], axis=1
  )
  shut = (
    np.take_along_axis(np.asarray(panel.receptacle_types), place[:, None], 1)[
      :, 0
    ]
    >= words.FIRST_CLOSABLE
  )
  lengths = 3 + shut
  metrics = evaluate([0.0, 0.0])
  assert metrics["eval/success"] == 1
  expected = FAST_COST + 2.0 * (lengths - 1)
  assert metrics["eval/cost"] == pytest.approx(expected.mean())
  assert metrics["eval/cost_of_success"] == pytest.approx(expected.mean())
  assert metrics["eval/courier_episodes"] == 1
  assert metrics["eval/courier_steps"] == pytest.approx(16 / lengths.sum())


def test_evaluation_without_success_or_courier():
  metrics = evaluate([0.0, -100.0])
  assert metrics["eval/success"] == metrics["eval/cost_of_success"] == 0
  expected = FAST_COST + 2.0 * (HORIZON - 1)
  assert metrics["eval/cost"] == pytest.approx(expected)
  metrics = evaluate([-200.0, 0.0])
  assert metrics["eval/courier_episodes"] == metrics["eval/courier_steps"] == 0


def test_evaluation_of_unit_costs_tells_nothing_of_them():
  environment, panel = world(courier=False)
  played = evaluation.make_evaluate(
    environment,
    lambda params, seen: jnp.where(seen.action_mask, params, params - 1.0),
    panel,
  )
  shapes = jax.eval_shape(played, jnp.float32(0), jax.random.key(0))
  assert set(shapes) == {
    "eval/success",
    "eval/success_greedy",
    "eval/return",
    "eval/length",
  }


def two_ways(fast_cost):
  """A group of two rollouts from one state: a fast step, and two slow ones.

  Both come to the state from which a third step succeeds.
  """
  names = np.array([[1, 2, 9, 0], [1, 3, 2, 9]], np.uint32)
  state_keys = np.stack([names, np.zeros_like(names)], axis=-1)[None]
  mask = np.array([[[1, 1, 0], [1, 1, 1]]], bool)
  reward = np.array([[[0, 1, 0], [0, 0, 1]]], np.float32)
  return on_device.Rollouts(
    observation=None,
    state_keys=jnp.asarray(state_keys),
    action=jnp.asarray([[[5, 1, 0], [2, 3, 1]]], jnp.int32),
    log_prob=jnp.zeros(mask.shape),
    reward=jnp.asarray(reward),
    action_valid=jnp.ones(mask.shape, bool),
    mask=jnp.asarray(mask),
    success=jnp.ones((1, 2), bool),
    episode_return=jnp.ones((1, 2)),
    cost=jnp.asarray([[[fast_cost, 1, 0], [1, 1, 1]]], jnp.float32),
  )


@functools.cache
def assign_graphgpo():
  return jax.jit(
    update.make_assign(estimators.ESTIMATORS["graphgpo"], add_step_cost=True)
  )


@pytest.mark.parametrize("fast_cost, sign", [(1.0, 1), (2.0, 0), (8.0, -1)])
def test_credit_follows_the_cost(fast_cost, sign):
  advantage, _ = assign_graphgpo()(two_ways(fast_cost))
  assert np.sign(advantage[0, 0, 0]) == sign
  assert np.sign(advantage[0, 1, 0]) == -sign
  assert not advantage[0, 0, 1] and not advantage[0, 1, 1:].any()


def test_rollouts_without_costs_count_steps():
  given, _ = assign_graphgpo()(two_ways(1.0))
  assumed, _ = assign_graphgpo()(two_ways(1.0).replace(cost=None))
  np.testing.assert_array_equal(given, assumed)
