import dataclasses

import numpy as np
import pytest

from graphgpo_jax.policy.acting import reading, words
from graphgpo_jax.rollouts.host import episodes
from tests.policy.acting import contexts

SPEC = reading.ReadingSpec(
  vocabulary_size=1000,
  max_tokens=20,
  max_commands=4,
  max_command_tokens=3,
  history=2,
  facts=("inventory",),
)
NOW = contexts.say("A room.", facts={"inventory": "a key"})


def ids(text):
  return list(words.word_ids(text, SPEC.vocabulary_size))


def test_passages_in_their_order():
  found = reading.read(
    contexts.context(NOW, ["go east", "wait", "take coin"]), SPEC
  )
  texts = ("Find the coin.", "take coin", "wait", "A room.", "a key")
  kinds = (
    reading.TASK,
    reading.COMMAND + 1,
    reading.COMMAND + 2,
    reading.OBSERVATION,
    reading.FACT,
  )
  expected = [(i, k) for t, k in zip(texts, kinds, strict=True) for i in ids(t)]
  there = found.observation.token_mask
  assert there.sum() == len(expected)
  assert not there[len(expected) :].any()
  state = found.observation
  tokens, kinds_found = state.tokens[there], state.kinds[there]
  assert expected == list(zip(tokens, kinds_found, strict=True))
  assert max(kinds) < SPEC.num_kinds
  assert (found.words_cut, found.commands_cut) == (0, 0)


def test_commands():
  found = reading.read(contexts.context(NOW), SPEC)
  assert found.commands == ("go east", "go west", "take coin")
  np.testing.assert_array_equal(
    found.observation.action_mask, [True, True, True, False]
  )
  assert list(found.observation.commands[2, :2]) == ids("take coin")
  assert not found.observation.commands[:, 2].any()
  assert not found.observation.commands[3].any()


def test_how_often_commands_were_taken():
  here = contexts.say("A room.", facts={"inventory": "a key"})
  there = contexts.say("A hall.", facts={"inventory": "a key"})
  turns = [
    episodes.Turn(before, episodes.Action(command), here)
    for before, command in [
      (here, "go east"),
      (there, "go east"),
      (there, "take coin"),
      (here, "go east"),
      (here, "sing"),
    ]
  ]
  context = dataclasses.replace(contexts.context(here), past=tuple(turns))
  found = reading.read(context, SPEC).observation
  # Of "go east", "go west", "take coin" and an empty row.
  np.testing.assert_array_equal(found.tried, [[2, 3], [0, 0], [0, 1], [0, 0]])
  blind = dataclasses.replace(SPEC, show_tried=False)
  assert not reading.read(context, blind).observation.tried.any()


def test_what_finds_no_room_is_counted():
  many = tuple(f"take item {k} from the shelf" for k in range(9))
  now = contexts.say("word " * 30, many, facts={"inventory": "a key"})
  found = reading.read(contexts.context(now), SPEC)
  assert found.words_cut == 4 + 30 + 2 - 20
  assert found.commands_cut == 5
  assert found.commands == many[:4]
  assert found.observation.token_mask.all()


@pytest.mark.parametrize("length", [12, 20, 4, 3])
def test_the_last_words_are_kept_where_asked_for(length):
  spec = dataclasses.replace(SPEC, max_tokens=length, keep_last_words=True)
  now = contexts.say(
    "one two three four five six seven", facts={"inventory": "a key"}
  )
  found = reading.read(contexts.context(now, ["wait"]), spec)
  before = ids("Find the coin.") + ids("wait")
  after = ids("one two three four five six seven a key")
  room = max(length - len(before), 0)
  expected = (before + (after[-room:] if room else []))[:length]
  state = found.observation
  assert list(state.tokens[state.token_mask]) == expected
  assert found.words_cut == max(len(before) + len(after) - length, 0)
  # Kinds go with their words.
  kinds = dict(zip(state.tokens, state.kinds, strict=True))
  assert kinds[before[0]] == reading.TASK
  if room:
    assert kinds[ids("key")[0]] == reading.FACT


def test_without_observation_facts_or_history():
  spec = reading.ReadingSpec(history=0, show_observation=False)
  found = reading.read(contexts.context(NOW, ["wait"]), spec)
  assert found.observation.token_mask.sum() == len(ids("Find the coin."))


def test_the_empty_observation_has_the_same_shapes():
  found = reading.read(contexts.context(NOW), SPEC).observation
  nothing = reading.empty(SPEC, (2, 3))
  for name, leaf in vars(found).items():
    assert getattr(nothing, name).shape == (2, 3, *leaf.shape)
    assert getattr(nothing, name).dtype == leaf.dtype


@pytest.mark.parametrize(
  ("now", "message"),
  [
    (
      contexts.say("A room.", (), facts={"inventory": ""}),
      "room-1.*no adm",
    ),
    (contexts.say("A room.", facts={"look": ""}), "'inventory'; it gives look"),
    (contexts.say("A room."), "it gives none"),
  ],
)
def test_what_cannot_be_read(now, message):
  with pytest.raises(ValueError, match=message):
    reading.read(contexts.context(now), SPEC)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("vocabulary_size", 1),
    ("max_tokens", 0),
    ("max_commands", 0),
    ("max_command_tokens", 0),
    ("history", -1),
  ],
)
def test_sizes_are_checked(name, value):
  with pytest.raises(ValueError, match=name):
    reading.ReadingSpec(**{name: value})
