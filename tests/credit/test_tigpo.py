"""tigpo beside graphgpo, and its comparison with an earlier visit."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.credit import distances, estimators
from graphgpo_jax.credit.estimators.memory import cross_time_advantage
from tests import golden_cases
from tests.credit import made_visits, random_groups, transforms


@pytest.mark.parametrize(
  "path", golden_cases.RECIPE[::12], ids=lambda path: path.stem
)
def test_tigpo_without_stored_graphs_is_graphgpo(path):
  case = golden_cases.load(path)
  options = {
    name: case[name]
    for name in (
      *golden_cases.COMMON,
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
      max_nodes=made_visits.NUM_ENTRIES,
      backup=distances.edge_distances,
      **options,
      **(scores if past is not None else {}),
    )[0]

  return jax.jit(credit_of)


def test_the_first_visit_is_that_of_graphgpo():
  step = made_visits.jitted_visit()
  credit_of = jitted_credit(estimators.graphgpo, **made_visits.HALF)
  for seed in range(10):
    steps, *keys = made_visits.lay_out(random_groups.random_group(seed))
    _, union, credit, *_ = step(made_visits.empty(), steps, *keys)
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
    groups = made_visits.sequence(seed, number=2)
    scores = []
    for group in groups:
      for one in group:
        of_steps = one["episode_return"] - penalty * ~one["action_valid"]
        scores += [one["episode_return"][:1] if per_rollout else of_steps]
    scores = np.concatenate(scores).astype(float)
    earlier, now = (made_visits.lay_out(group)[0] for group in groups)
    found = compare(now, *freeze(earlier, **options), **options)
    own = np.asarray(now.episode_return, float)
    if not per_rollout:
      own = own - penalty * ~now.action_valid
    expected = np.zeros(made_visits.NUM_ENTRIES)
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
    steps = made_visits.lay_out(now)[0]
    past = freeze(made_visits.lay_out(earlier)[0], **options)
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
