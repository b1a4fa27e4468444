"""The actor that asks a language model."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax.policy import language_model
from graphgpo_jax.policy.acting import generate, prompts, tags
from graphgpo_jax.policy.sampling import sampler as sampler_lib
from tests.policy.acting import contexts, speaking

COMMANDS = ("move down", "move up", "take coin")
ROOMS = [
  contexts.context(
    contexts.say("Room " + "far " * k, COMMANDS),
    ["move up"] * (k % 3),
    index=k,
    seed=11,
  )
  for k in range(6)
]


@functools.cache
def generator(batch_size=4):
  model = speaking.pretrained()
  drawn = sampler_lib.Sampler(
    language_model.LanguageModel(model.config),
    {"params": model.params},
    eos_ids=model.eos_ids,
    segment=4,
    prefill_chunk=128,
  )
  made = generate.Generator(
    drawn,
    render=model.chat_template.render,
    encode=model.tokenizer.encode,
    decode=model.tokenizer.decode,
    prompt=prompts.PromptSpec(),
    tag=tags.TagSpec(),
    max_response_tokens=4,
    batch_size=batch_size,
  )
  return made, {"params": model.params}


@functools.cache
def together():
  made, variables = generator()
  return made.bind(variables)(ROOMS)


def test_an_action_says_what_was_drawn():
  valid = set()
  for context, action in zip(ROOMS, together(), strict=True):
    turn = action.extra.turn
    assert action.prompt_tokens == len(turn.prompt_tokens)
    assert action.response_tokens == len(turn.response_tokens) <= 4
    words = speaking.Words()
    assert list(turn.prompt_tokens) == words.encode(action.prompt)
    assert action.response == words.decode(turn.response_tokens)
    parsed = tags.parse(action.response, COMMANDS, tags.TagSpec())
    assert (action.command, action.valid) == (parsed.command, parsed.valid)
    assert action.extra.tagged == parsed.tagged
    assert action.extra.stopped == (turn.response_tokens[-1] == speaking.EOS)
    assert context.now.observation.strip() in action.prompt
    valid.add(action.valid)
  assert valid == {True, False}


def test_log_probs_are_those_of_the_model():
  made, variables = generator()
  turn = together()[0].extra.turn
  tokens = np.concatenate([turn.prompt_tokens, turn.response_tokens])[None]
  logits = jax.jit(made.sampler.model.apply)(
    variables, tokens, np.ones(tokens.shape, bool)
  )
  found = jax.nn.log_softmax(logits[0, len(turn.prompt_tokens) - 1 : -1])
  expected = found[np.arange(len(turn.response_tokens)), turn.response_tokens]
  np.testing.assert_allclose(turn.response_log_probs, expected, atol=1e-4)


@pytest.mark.parametrize(
  ("order", "batch_size"), [([2], 4), ([4, 0], 1), ([1, 2, 3], 4)]
)
def test_the_batch_does_not_matter(order, batch_size):
  made, variables = generator(batch_size)
  alone = made.bind(variables)([ROOMS[k] for k in order])
  for k, action in zip(order, alone, strict=True):
    one, other = action.extra.turn, together()[k].extra.turn
    np.testing.assert_array_equal(one.response_tokens, other.response_tokens)
    np.testing.assert_allclose(
      one.response_log_probs, other.response_log_probs, atol=1e-4
    )


def test_draws_follow_the_key_of_the_context():
  made, variables = generator()
  same, other = (
    made.bind(variables)(
      [contexts.context(ROOMS[0].now, index=k, seed=seed) for k in range(4)]
    )
    for seed in (11, 12)
  )
  drawn = [
    tuple(action.extra.turn.response_tokens) for action in (*same, *other)
  ]
  assert len(set(drawn)) > 5
  assert drawn[0] == tuple(together()[0].extra.turn.response_tokens)


def test_greedy_at_temperature_0():
  made, variables = generator()
  act = made.bind(variables, temperature=0.0)
  responses = {
    act([contexts.context(ROOMS[0].now, index=k)])[0].response for k in range(3)
  }
  assert len(responses) == 1


def test_an_answer_can_be_begun_for_the_model():
  made, variables = generator()
  begun = generate.Generator(
    made.sampler,
    render=speaking.Template().render,
    encode=speaking.Words().encode,
    decode=lambda ids: "move up</action>",
    prompt=prompts.PromptSpec(answer_start="<action>"),
    tag=made.tag,
    max_response_tokens=4,
    batch_size=4,
  )
  (action,) = begun.bind(variables)(ROOMS[:1])
  assert (action.command, action.valid) == ("move up", True)
  assert action.prompt.endswith("<action>")
  assert action.response == "move up</action>"


def test_numbers_of_rows():
  found = {
    generate.row_number(contexts.context(ROOMS[0].now, ["x"] * step, index=k))
    for k in range(3)
    for step in range(4)
  }
  assert len(found) == 12 and max(found) < 2**32
  with pytest.raises(ValueError, match="episode 1048576"):
    generate.row_number(contexts.context(ROOMS[0].now, index=2**20))


def test_no_batch_is_refused():
  made, _ = generator()
  with pytest.raises(ValueError, match="batch_size"):
    generate.Generator(
      made.sampler,
      render=None,
      encode=None,
      decode=None,
      prompt=made.prompt,
      tag=made.tag,
      max_response_tokens=1,
      batch_size=0,
    )
