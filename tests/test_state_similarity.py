"""`assign_credit` with near-equal observations made one state."""

import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax.tables import near_equal
from tests.rooms import STEPS, TRAJECTORIES, by_rooms, walks


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo"])
@pytest.mark.parametrize("seed", range(3))
def test_credit_is_that_of_the_rooms(estimator, seed):
  steps = walks(seed)
  expected = graphgpo_jax.assign_credit(by_rooms(steps), estimator)
  given = graphgpo_jax.assign_credit(steps, estimator, state_similarity=0.85)
  apart = graphgpo_jax.assign_credit(steps, estimator)
  assert set(given) == set(expected)
  for name, column in expected.items():
    np.testing.assert_array_equal(given[name], column, err_msg=name)
  assert (apart["advantage"] != expected["advantage"]).any()


def test_row_order_changes_nothing():
  steps = walks(1)
  order = np.random.default_rng(0).permutation(TRAJECTORIES * STEPS)
  shuffled = {
    name: [column[row] for row in order] for name, column in steps.items()
  }
  given = graphgpo_jax.assign_credit(shuffled, state_similarity=0.85)
  expected = graphgpo_jax.assign_credit(steps, state_similarity=0.85)
  for name, column in expected.items():
    np.testing.assert_allclose(given[name], column[order], atol=1e-6)


def test_summary_counts_merged_states():
  steps = walks(2)
  _, merged = graphgpo_jax.tables.credit_table(steps, state_similarity=0.85)
  _, rooms = graphgpo_jax.tables.credit_table(by_rooms(steps))
  _, apart = graphgpo_jax.tables.credit_table(steps)
  assert merged.states == rooms.states < apart.states


def test_a_threshold_of_one_merges_what_is_made_of_the_same_runs_alone():
  steps = walks(0)
  given = graphgpo_jax.assign_credit(steps, state_similarity=1.0)
  expected = graphgpo_jax.assign_credit(steps)
  for name, column in expected.items():
    np.testing.assert_array_equal(given[name], column)


@pytest.mark.parametrize(
  "options, message",
  [
    ({"state_similarity": 0.0}, r"state_similarity=0\.0.*\(0, 1\]"),
    ({"state_similarity": 1.5}, r"state_similarity=1\.5.*\(0, 1\]"),
    ({"state_similarity": True}, "state_similarity=True"),
    (
      {"state_similarity": 0.9, "state_similarity_by": "cosine"},
      "state_similarity_by='cosine'.*jaccard, ratio",
    ),
  ],
)
def test_bad_options_are_named(options, message):
  # Before anything is read: the table would not do either.
  with pytest.raises(ValueError, match=message):
    graphgpo_jax.assign_credit({}, **options)


def test_what_is_no_text_is_named():
  steps = by_rooms(walks(0))
  with pytest.raises(ValueError, match="column 'observation', row 0: .*text"):
    graphgpo_jax.assign_credit(steps, state_similarity=0.9)
  steps = walks(0)
  # The end of a failed rollout: nothing else refers to it.
  last = 2 * STEPS - 1
  assert not steps["success"][last]
  steps["next_observation"][last] = 7
  with pytest.raises(
    ValueError, match=f"column 'next_observation', row {last}: .*got int"
  ):
    graphgpo_jax.assign_credit(steps, state_similarity=0.9)


def test_merged_keys_are_those_of_the_function():
  steps = walks(0)
  texts = steps["observation"] + steps["next_observation"]
  keys = near_equal.merge_near_equal(texts, steps["task"] * 2, threshold=0.85)
  rooms = steps["room"] + steps["next_room"]
  names = {
    (task, room, *key)
    for task, room, key in zip(
      steps["task"] * 2, rooms, keys.tolist(), strict=True
    )
  }
  assert len(names) == len({name[:2] for name in names})
