import dataclasses

import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax.credit import estimators
from graphgpo_jax.integrations import token_credit
from tests.integrations import chats

GROUP = [
  # Two ways to the study; the third rollout walks past it and never returns.
  chats.chat("u:hall a:e u:kitchen a:s u:study", "11000111", 1.0),
  chats.chat("u:hall a:s u:garden a:n u:hall a:e u:kitchen", "1010110", 0.0),
  chats.chat("s:be u:hall a:e u:kitchen a:e u:cellar", "1011", 0.0),
]


def key(message):
  return message["content"]


def credit(rollouts=GROUP, key_fn=key, *, length=9, **options):
  return token_credit.token_advantages(
    rollouts, key_fn, length=length, **options
  )


def by_table(**options):
  """The same group, written down as a table."""
  steps = [
    (0, 0, "hall", "kitchen", True, 1.0, "e"),
    (0, 1, "kitchen", "study", True, 1.0, "s"),
    (1, 0, "hall", "garden", False, 0.0, "s"),
    (1, 1, "garden", "hall", False, 0.0, "n"),
    (1, 2, "hall", "kitchen", False, 0.0, "e"),
    (2, 0, "hall", "kitchen", False, 0.0, "e"),
    (2, 1, "kitchen", "cellar", False, 0.0, "e"),
  ]
  names = (
    *("trajectory", "t", "observation", "next_observation"),
    *("success", "episode_return", "action"),
  )
  table = dict(zip(names, zip(*steps, strict=True), strict=True))
  return graphgpo_jax.assign_credit({**table, "task": [0] * 7}, **options)


# One of each kind; the others compile for as long.
_FEW = ("graphgpo", "grpo", "crbc")


@pytest.mark.parametrize(
  "estimator",
  [
    pytest.param(name, marks=() if name in _FEW else pytest.mark.slow)
    for name in estimators.ESTIMATORS
  ],
)
def test_tokens_have_the_advantage_of_their_turn(estimator):
  one = credit(estimator=estimator)
  steps = by_table(estimator=estimator)["advantage"]
  expected = np.zeros((3, 9), np.float32)
  expected[0, :2], expected[0, 5:8] = steps[:2]
  expected[1, 0], expected[1, 2], expected[1, 4:6] = steps[2:5]
  expected[2, 0], expected[2, 2:4] = steps[5:]
  np.testing.assert_array_equal(one.advantages, expected)
  np.testing.assert_array_equal(one.token_mask.sum(1), [5, 4, 3])
  np.testing.assert_array_equal(np.concatenate(one.turn_advantages), steps)
  assert np.isfinite(expected).all() and expected.any()


def test_turns_of_one_rollout_differ():
  advantages = credit().advantages
  # Into the garden and back lost time; on to the kitchen was right.
  assert advantages[1, 4] > advantages[1, 0]
  # The failed rollout's first step is as good as the other's was, its second
  # is not.
  assert advantages[2, 0] > advantages[2, 2]


def test_summary():
  one = credit()
  assert one.states == 4  # hall, kitchen, garden, cellar: the study is success
  assert one.reachable_states == 3
  assert one.success.tolist() == [True, False, False]
  counts = (one.without_turns, one.masked_out, one.empty_turns, one.cut_turns)
  assert counts == (0, 0, 0, 0)


def test_options_reach_the_estimator():
  plain, other = credit(), credit(omega=0.9, normalization="mean")
  assert not np.allclose(plain.advantages, other.advantages)
  np.testing.assert_array_equal(
    np.concatenate(other.turn_advantages),
    by_table(omega=0.9, normalization="mean")["advantage"],
  )


def test_a_function_of_ones_own():
  def rule(steps, graph, distance):
    del graph, distance
    each = steps.episode_return + steps.last
    zero = 0 * each
    return graphgpo_jax.Credit(
      distance=zero,
      next_distance=zero,
      step_return=zero,
      step_advantage=zero,
      episode_advantage=zero,
      advantage=each,
    )

  one = credit(estimator=rule)
  assert [list(turns) for turns in one.turn_advantages] == [
    [1, 2],
    [0, 0, 1],
    [0, 1],
  ]


def test_groups_do_not_touch_each_other():
  other = [
    chats.chat("u:hall a:x u:den", "11", 0.0, group="b"),
    chats.chat("u:hall a:y u:study", "1", 3.0, group="b"),
  ]
  mixed = [GROUP[0], other[0], GROUP[1], other[1], GROUP[2]]
  together = credit(mixed)
  np.testing.assert_allclose(
    together.advantages[[0, 2, 4]], credit().advantages, atol=1e-6
  )
  np.testing.assert_allclose(
    together.advantages[[1, 3]], credit(other).advantages, atol=1e-6
  )
  as_one = credit([dataclasses.replace(one, group=0) for one in mixed])
  assert not np.allclose(as_one.advantages, together.advantages)


@pytest.mark.parametrize(
  "key_fn",
  [
    lambda message: sum(map(ord, message["content"])),
    lambda message: np.array([sum(map(ord, message["content"])), 1.0]),
    lambda message: (message["content"], 1),
    lambda message: message["content"].encode(),
    lambda message: key(message) if message["content"] != "cellar" else None,
  ],
)
def test_keys_of_many_kinds(key_fn):
  np.testing.assert_array_equal(
    credit(key_fn=key_fn).advantages, credit().advantages
  )


def test_an_unknown_end_is_a_state_of_its_own():
  rollouts = [
    chats.chat("u:hall a:e", "1", 0.0),
    chats.chat("u:hall a:e", "1", 0.0),
    chats.chat("u:hall a:e u:study", "1", 1.0),
  ]
  one = credit(rollouts)
  assert (one.states, one.reachable_states) == (3, 1)
  assert one.advantages[2, 0] > 0 > one.advantages[0, 0]


def test_success_by_threshold_and_by_best():
  rollouts = [
    chats.chat("u:hall a:e u:b", "1", 0.2),
    chats.chat("u:hall a:s u:c", "1", 0.7),
    chats.chat("u:hall a:e u:b", "1", 5.0, group=1),
    chats.chat("u:hall a:s u:c", "1", 5.0, group=1),
  ]
  assert credit(rollouts).success.all()
  above = credit(rollouts, success_fn=token_credit.above(0.5)).success
  assert above.tolist() == [False, True, True, True]
  # Nobody is best among equals.
  best = credit(rollouts, success_fn=token_credit.best).success
  assert best.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
  "success_fn", [lambda rewards: rewards, lambda rewards: rewards[:1] > 0]
)
def test_a_wrong_answer_of_success_fn(success_fn):
  with pytest.raises(ValueError, match="must give 3 booleans"):
    credit(success_fn=success_fn)


def test_what_is_met_is_counted():
  rollouts = [
    *GROUP,
    chats.chat("u:hall", ""),
    chats.chat("u:hall a:e u:kitchen", "000", 1.0),
    chats.chat("u:hall a: u:hall a:e u:kitchen", "00110", 0.0),
    chats.chat("u:hall a:e u:kitchen a:w u:hall", "10000000111", 0.0),
  ]
  one = credit(rollouts)
  counts = (one.without_turns, one.masked_out, one.empty_turns, one.cut_turns)
  assert counts == (1, 1, 1, 1)
  assert [len(turns) for turns in one.turn_advantages] == [2, 3, 2, 0, 0, 2, 2]
  # The part of a turn that fits keeps its advantage.
  assert one.advantages[6, 8] == one.turn_advantages[6][1]
  assert not one.advantages[3:5].any() and not one.token_mask[3:5].any()


def test_a_masked_out_rollout_takes_no_part():
  out = chats.chat("u:hall a:w u:attic", "000", 1.0)
  np.testing.assert_array_equal(
    credit([*GROUP, out]).advantages[:3], credit().advantages
  )


def test_nothing_said_by_anyone():
  one = credit([chats.chat("u:hall", ""), chats.chat("u:hall", "")])
  assert not one.advantages.any() and one.advantages.shape == (2, 9)
  assert (one.states, one.without_turns) == (0, 2)


def test_a_state_without_a_key_is_named():
  rollouts = [chats.chat("u:hall a:e u:? a:s u:b", "101", name="rollout 4")]
  with pytest.raises(ValueError, match=r"rollout 4, turn 1: .*'\?'"):
    credit(rollouts, lambda one: None if "?" in one["content"] else key(one))


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_not_finite_is_named(reward):
  rollouts = [GROUP[0], chats.chat("u:a a:b", "1", reward, name="rollout 4")]
  with pytest.raises(ValueError, match="rollout 4: the reward"):
    credit(rollouts)


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"estimator": "no such"}, "unknown estimator 'no such'"),
    ({"nothing": 1}, "unknown option 'nothing'"),
    ({"omega": 2.0}, "option 'omega'"),
  ],
)
def test_wrong_options_are_named(options, match):
  with pytest.raises(ValueError, match=match):
    credit(**options)
