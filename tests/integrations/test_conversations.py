import numpy as np
import pytest

from graphgpo_jax.integrations import conversations
from tests.integrations import chats


def told(turns):
  """Before, said, after and span of each turn."""
  return [
    (
      turn.before["content"],
      turn.said["content"],
      None if turn.after is None else turn.after["content"],
      turn.span,
    )
    for turn in turns
  ]


@pytest.mark.parametrize(
  ("mask", "expected"),
  [
    ("", []),
    ("000", []),
    ("111", [(0, 3)]),
    ("1101", [(0, 2), (3, 4)]),
    ("01100110", [(1, 3), (5, 7)]),
  ],
)
@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32])
def test_spans_are_the_runs_of_ones(mask, expected, dtype):
  array = np.array([int(one) for one in mask]).astype(dtype)
  assert [tuple(span) for span in conversations.turn_spans(array)] == expected


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.array([0, 2]), [0.5]])
def test_a_mask_of_another_kind_is_refused(mask):
  with pytest.raises(ValueError, match="list of zeros and ones"):
    conversations.turn_spans(mask)


def test_turns_stand_between_states():
  one = chats.chat("s:be u:hall a:east u:kitchen a:south u:study", "11000111")
  assert told(conversations.find_turns(one)) == [
    ("hall", "east", "kitchen", (0, 2)),
    ("kitchen", "south", "study", (5, 8)),
  ]


def test_the_end_may_say_nothing():
  one = chats.chat("u:hall a:east", "11")
  assert told(conversations.find_turns(one)) == [("hall", "east", None, (0, 2))]


def test_several_messages_between_turns_are_one():
  one = chats.chat("u:hall a:look t:door t:key a:take t:yes", "1001")
  turns = conversations.find_turns(one)
  assert told(turns) == [
    ("hall", "look", "door\nkey", (0, 1)),
    ("door\nkey", "take", "yes", (3, 4)),
  ]
  assert turns[1].before["role"] == "tool"


def test_a_system_message_alone_is_the_task():
  turns = conversations.spoken_turns(chats.messages("s:play", "a:east"))
  assert turns[0].before["content"] == "play"


def test_nothing_before_the_first_turn_is_refused():
  with pytest.raises(ValueError, match="my rollout: nothing stands before"):
    conversations.find_turns(chats.chat("a:east u:x", "1", name="my rollout"))


def test_contents_become_texts():
  said = {"role": "assistant", "content": None}
  task = {"role": "user", "content": np.array(["hall"])}
  (turn,) = conversations.spoken_turns([task, said])
  assert (turn.before["content"], turn.said["content"]) == ("hall", "")
  assert type(turn.before["content"]) is str


def test_an_empty_turn_has_no_tokens():
  # What the environment answered twice stands side by side in the mask.
  one = chats.chat("u:hall a:east u:b a: u:c a:west u:d", "110011")
  assert [turn.span for turn in conversations.find_turns(one)] == [
    (0, 2),
    conversations.NO_TOKENS,
    (4, 6),
  ]


def test_an_empty_message_may_have_tokens():
  one = chats.chat("u:hall a: u:b a:west u:d", "1001")
  assert [turn.span for turn in conversations.find_turns(one)] == [
    (0, 1),
    (3, 4),
  ]


def test_an_answer_that_nobody_heard_is_no_step():
  one = chats.chat("u:hall a:east u:b a:west", "1100", broken_off=True)
  assert told(conversations.find_turns(one)) == [("hall", "east", "b", (0, 2))]


def test_broken_off_before_the_first_answer():
  one = chats.chat("u:hall a:east", "", broken_off=True)
  assert conversations.find_turns(one) == []


def test_nothing_said():
  assert conversations.find_turns(chats.chat("u:hall", "")) == []


def test_masked_out_as_a_whole():
  assert conversations.find_turns(chats.chat("u:hall a:x u:b", "000")) is None


def test_turns_that_are_all_empty_are_not_masked_out():
  (turn,) = conversations.find_turns(chats.chat("u:hall a: u:b", "00"))
  assert turn.span == conversations.NO_TOKENS


@pytest.mark.parametrize(
  ("lines", "mask"),
  [
    ("u:hall a:east u:b a:west", "1111"),  # no token between two turns
    ("u:hall a:east u:b a:west", "1100"),  # not broken off
    ("u:hall a:east u:b", "1011"),
    ("u:hall", "1"),
    ("u:hall a:east", ""),
    ("u:hall a:east u:b a: u:c a:west", "11"),
  ],
)
def test_a_mask_that_does_not_fit_is_named(lines, mask):
  one = chats.chat(lines, mask, name="group 7, rollout 2")
  with pytest.raises(ValueError, match="group 7, rollout 2: its mask has"):
    conversations.find_turns(one)
