"""The policy that chooses commands, and the actor around it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import actor, transformer
from graphgpo_jax.policy.acting import choose, chooser, reading
from tests.policy.acting import contexts

SPEC = reading.ReadingSpec(
  vocabulary_size=200, max_tokens=12, max_commands=5, max_command_tokens=3
)
CONFIG = transformer.TransformerConfig(
  num_layers=1, width=16, num_heads=2, rope=True
)
INIT, APPLY = chooser.make_chooser(SPEC, CONFIG)
PARAMS = jax.tree.map(
  # A new policy is nearly uniform: too flat to see what it looks at.
  lambda leaf: leaf * 3.0,
  INIT(jax.random.key(0)),
)
logits_of = jax.jit(APPLY)


def observe(text, commands=("go east", "take coin", "wait"), past=()):
  now = contexts.say(text, commands)
  return reading.read(contexts.context(now, past), SPEC).observation


def test_logits():
  logits = logits_of(PARAMS, observe("A dark room."))
  assert logits.shape == (5,)
  assert logits.dtype == jnp.float32
  assert (logits[3:] == actor.ILLEGAL_LOGIT).all()
  assert np.isfinite(logits).all()
  assert np.ptp(logits[:3]) > 1e-3


@pytest.mark.parametrize(
  "other",
  [
    observe("A bright room."),
    observe("Room dark a."),
    observe("A dark room.", past=("wait",)),
  ],
)
def test_it_sees_words_their_order_and_the_past(other):
  own = logits_of(PARAMS, observe("A dark room."))[:3]
  assert np.abs(logits_of(PARAMS, other)[:3] - own).max() > 1e-4


def test_the_order_of_commands_says_nothing():
  commands = ("go east", "take coin", "wait")
  own = logits_of(PARAMS, observe("A room.", commands))
  turned = logits_of(PARAMS, observe("A room.", commands[::-1]))
  np.testing.assert_allclose(turned[:3], own[:3][::-1], atol=1e-5)


def test_the_order_of_a_commands_words_counts():
  spec = reading.ReadingSpec(
    vocabulary_size=200, max_tokens=12, max_commands=5, max_command_tokens=4
  )
  init, apply = chooser.make_chooser(spec, CONFIG)
  now = contexts.say("A room.", ("put a in b", "put b in a"))
  read = reading.read(contexts.context(now), spec).observation
  logits = apply(init(jax.random.key(0)), read)
  assert np.abs(logits[0] - logits[1]) > 1e-6


def test_shares_of_words_by_passage():
  commands = ("take coin", "take", "go east now", "wait wait")
  now = contexts.say("A coin, a coin. Take it now", commands)
  spec = reading.ReadingSpec(
    vocabulary_size=5000, max_tokens=20, max_commands=5, max_command_tokens=3
  )
  context = contexts.context(now, ["go east"])
  shares = chooser.shared_words(
    reading.read(context, spec).observation, spec.num_kinds
  )
  expected = np.zeros((5, spec.num_kinds))
  # The task is "Find the coin."
  expected[:2, reading.TASK] = [1 / 2, 0]
  expected[:3, reading.OBSERVATION] = [1, 1, 1 / 3]
  expected[2, reading.COMMAND + 1] = 2 / 3
  np.testing.assert_allclose(shares, expected, atol=1e-6)


@pytest.mark.parametrize("column", [0, 1])
def test_it_sees_how_often_a_command_was_taken(column):
  seen = observe("A room.")
  logits = [logits_of(PARAMS, seen)[:3]]
  for times in (1, 2, 3, 9):
    tried = seen.tried.copy()
    tried[1, column] = times
    logits.append(logits_of(PARAMS, seen.replace(tried=tried))[:3])
  for one, other in itertools.pairwise(logits[:4]):
    assert np.abs(one - other).max() > 1e-4
  # Three times is as good as any more.
  np.testing.assert_array_equal(logits[3], logits[4])


def test_words_that_were_never_met_are_matched():
  # The only difference between the commands is which of them the text names.
  params = jax.tree.map(np.copy, PARAMS)
  params["words"][:] = params["words"][0]
  commands = ("take key", "take lamp")
  key = logits_of(params, observe("A key.", commands))
  lamp = logits_of(params, observe("A lamp.", commands))
  assert np.abs(key[0] - key[1]) > 1e-4
  np.testing.assert_allclose(key[:2], lamp[1::-1], atol=1e-5)


def test_padding_may_hold_anything():
  one = observe("A dark room.")
  other = one.replace(
    tokens=np.where(one.token_mask, one.tokens, 17),
    commands=np.where(one.action_mask[:, None], one.commands, 5),
    tried=np.where(one.action_mask[:, None], one.tried, 2),
  )
  np.testing.assert_allclose(
    logits_of(PARAMS, one), logits_of(PARAMS, other), atol=1e-6
  )


@pytest.mark.parametrize("changes", [{"rope": False}, {"causal": True}])
def test_refused_transformers(changes):
  fields = {"num_layers": 1, "width": 16, "num_heads": 2, "rope": True}
  config = transformer.TransformerConfig(**(fields | changes))
  with pytest.raises(ValueError, match="config.causal must be False"):
    chooser.make_chooser(SPEC, config)


ACTOR = choose.Chooser(APPLY, SPEC, batch_size=4)
ROOMS = [
  contexts.context(contexts.say(f"Room {k}."), index=k, seed=11)
  for k in range(4)
]


def test_each_context_is_treated_by_itself():
  act = ACTOR.bind(PARAMS)
  together = act(ROOMS)
  for order in ([2], [3, 0], [1, 2, 3]):
    for position, action in zip(
      order, act([ROOMS[k] for k in order]), strict=True
    ):
      assert action.command == together[position].command
      np.testing.assert_allclose(
        action.extra[2], together[position].extra[2], atol=1e-5
      )


def test_an_action_says_what_was_chosen():
  for context, action in zip(ROOMS, ACTOR.bind(PARAMS)(ROOMS), strict=True):
    read, index, log_prob = action.extra
    assert read.commands[index] == action.command == action.response
    assert action.command in context.now.admissible_actions
    expected = jax.nn.log_softmax(logits_of(PARAMS, read.observation))[index]
    np.testing.assert_allclose(log_prob, expected, atol=1e-5)
    assert action.prompt_tokens == read.observation.token_mask.sum()


def test_greedy_where_asked_for():
  act = ACTOR.bind(PARAMS, greedy=lambda plan: plan.index % 2 == 0)
  for seed in range(6):
    rooms = [
      contexts.context(room.now, index=k, seed=seed)
      for k, room in enumerate(ROOMS)
    ]
    for action in act(rooms)[::2]:
      read, index, _ = action.extra
      assert index == np.argmax(logits_of(PARAMS, read.observation))


def test_draws_follow_the_policy_and_the_key():
  now = contexts.say("Room.", ("a", "b", "c"))
  act = ACTOR.bind(PARAMS)
  drawn = []
  for start in range(0, 600, 4):
    some = [contexts.context(now, index=start + k, seed=3) for k in range(4)]
    chosen = [action.extra[1] for action in act(some)]
    drawn += chosen
  assert chosen == [action.extra[1] for action in act(some)]
  read = reading.read(some[0], SPEC).observation
  expected = jax.nn.softmax(logits_of(PARAMS, read))[:3]
  shares = np.bincount(drawn, minlength=3) / len(drawn)
  # Five standard deviations of a share.
  np.testing.assert_allclose(shares, expected, atol=5 * (0.25 / 600) ** 0.5)
