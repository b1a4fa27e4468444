"""Imitating an expert with a language model, and starting from what it gave."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from graphgpo_jax.policy.acting import prompts, tags
from graphgpo_jax.rollouts.host import expert
from graphgpo_jax.training import (
  checkpoint,
  language_batches,
  language_experiment,
  language_imitation,
  language_loss,
  language_trainer,
  language_update,
  language_warm_start,
  metrics,
)
from tests.policy import tiny_language_models
from tests.policy.acting import speaking
from tests.training import coin_world, test_language_experiment

make_config = test_language_experiment.make_config


class Speaker(speaking.Words):
  """Says its pieces by an id each, so that they can be taught."""

  def encode(self, text):
    if text in speaking._PIECES:
      return [8 + speaking._PIECES.index(text)]
    return super().encode(text)


def pretrained():
  return dataclasses.replace(speaking.pretrained(), tokenizer=Speaker())


@functools.cache
def taught():
  episodes = expert.play_expert(
    coin_world.make(), ["coin-0", "coin-1"], seed=0, max_steps=6
  )
  return [lesson for episode in episodes for lesson in episode]


PROMPT = prompts.PromptSpec(think=False)
ANSWER = language_imitation.AnswerSpec(
  tag=tags.TagSpec(), eos_ids=(speaking.EOS, 3)
)


class Characters:
  """A tokenizer that shows what it was given."""

  EOS, OTHER = 1, 2

  def encode(self, text):
    return [
      self.EOS if sign == "$" else self.OTHER if sign == "%" else ord(sign)
      for sign in text
    ]

  def decode(self, ids):
    return "".join(map(chr, ids))


def render(messages):
  """A turn of the model's ends in $."""
  turns = [
    message["content"] + ("$" if message["role"] == "assistant" else "")
    for message in messages
  ]
  return "".join(f"[{turn}]" for turn in turns)


def read(prompt=PROMPT, answer=ANSWER, lessons=None):
  return language_imitation.read_lessons(
    taught() if lessons is None else lessons,
    prompt,
    dataclasses.replace(answer, eos_ids=(Characters.OTHER, Characters.EOS)),
    render=render,
    encode=Characters().encode,
  )


def answers(found):
  """What carries loss in each row."""
  rows = found.rows
  return [
    rows.tokens[index][rows.loss_mask[index]].tolist()
    for index in range(rows.mask.shape[0])
  ]


def said(found):
  return [Characters().decode(ids) for ids in answers(found)]


def test_lessons_are_prompts_of_acting_and_the_experts_answers():
  found = read()
  assert found.num_left_out == 0
  end = chr(Characters.EOS)
  assert said(found) == [
    f"<action>{lesson.command}</action>{end}" for lesson in taught()
  ]
  rows = found.rows
  for index, lesson in enumerate(taught()):
    asked = prompts.make_prompt(
      lesson.context, PROMPT, render=render, encode=Characters().encode
    )
    own = rows.tokens[index][rows.mask[index]]
    np.testing.assert_array_equal(own[: len(asked.tokens)], asked.tokens)
    np.testing.assert_array_equal(
      np.flatnonzero(rows.loss_mask[index]),
      np.arange(len(asked.tokens), len(own)),
    )


def test_an_empty_thought_where_thoughts_are_asked_for():
  strict = dataclasses.replace(ANSWER, tag=tags.TagSpec(require_thought=True))
  thinking = dataclasses.replace(PROMPT, think=True)
  assert said(read(thinking, strict))[0].startswith("<think></think><action>")
  # Without one, acting would not take it for a command.
  with pytest.raises(ValueError, match="none of 6 lessons"):
    read(PROMPT, strict)


def test_a_stop_string_ends_an_answer():
  stopping = dataclasses.replace(ANSWER, stop_strings=("</action>",))
  assert all(text.endswith("</action>") for text in said(read(answer=stopping)))


def test_an_answer_that_was_begun():
  begun = dataclasses.replace(PROMPT, answer_start="<action>move")
  found = read(begun)
  # "take coin" cannot be said any more, once in each episode.
  assert found.num_left_out == 2
  assert said(found) == [f" up</action>{chr(Characters.EOS)}"] * 4


def test_long_and_unspeakable_answers_are_left_out():
  short = dataclasses.replace(
    ANSWER, max_tokens=len("<action>move up</action>$")
  )
  found = read(answer=short)
  assert found.num_left_out == 2 and len(said(found)) == 4
  odd = [dataclasses.replace(taught()[0], command="wave <action>")]
  assert read(lessons=[*odd, *taught()]).num_left_out == 1
  with pytest.raises(ValueError, match="none of 1 lessons"):
    read(lessons=odd)


@pytest.mark.parametrize(
  ("eos_ids", "expected"), [((2, 1), 1), ((1,), 1), ((7,), 7), ((), None)]
)
def test_what_ends_a_turn(eos_ids, expected):
  encode = Characters().encode
  found = language_imitation.end_of_turn(eos_ids, render=render, encode=encode)
  assert found == expected


def test_nothing_ends_an_answer():
  with pytest.raises(ValueError, match="would never learn to stop"):
    language_imitation.read_lessons(
      taught(),
      PROMPT,
      dataclasses.replace(ANSWER, eos_ids=()),
      render=render,
      encode=Characters().encode,
    )


def packed_rows():
  """Lessons in the tiny model's tokens, two micro-batches of a row."""
  template, words = speaking.Template(), Speaker()
  found = language_imitation.read_lessons(
    taught(), PROMPT, ANSWER, render=template.render, encode=words.encode
  )
  (rows,) = language_batches.make_minibatches(
    found.rows,
    minibatch_rows=0,
    microbatch_rows=1,
    row_tokens=256,
    random=np.random.default_rng(0),
  )
  return found, rows


@pytest.mark.slow
def test_the_gradient_is_that_of_the_answers_likelihood():
  """Against rows that are not packed, the softmax over all words."""
  found, rows = packed_rows()
  # Several lessons a row, several rows.
  assert 2 == rows.mask.shape[0] < found.rows.mask.shape[0]
  module, variables = tiny_language_models.build(tiny_language_models.SHALLOW)
  params = jax.tree.map(jnp.array, variables["params"])
  own = jax.tree.map(jnp.asarray, found.rows)

  def expected(params):
    logits = module.apply({"params": params}, own.tokens, own.mask)
    log_probs = jax.nn.log_softmax(logits[:, :-1])
    following = own.tokens[:, 1:, None]
    chosen = jnp.take_along_axis(log_probs, following, -1)[..., 0]
    return -jnp.mean(chosen, where=own.loss_mask[:, 1:])

  value, gradients = jax.jit(jax.value_and_grad(expected))(params)
  optimizer = optax.sgd(1.0)
  update = language_update.make_update(
    language_loss.make_log_probs(module, chunk=32, with_entropy=False),
    optimizer,
    num_microbatches=2,
    loss=language_imitation.imitation_loss,
  )
  state = language_update.create_state(
    {"params": jax.tree.map(jnp.copy, params)}, optimizer
  )
  state, numbers = update(state, rows)
  assert float(numbers["loss/policy"]) == pytest.approx(float(value), rel=1e-5)
  assert 0 < float(numbers["imitation/probability"]) < 1
  jax.tree.map(
    lambda before, after, slope: np.testing.assert_allclose(
      before - after, slope, atol=2e-5
    ),
    params,
    state.trained["params"],
    gradients,
  )


def warm(folder, config, **options):
  lines = []
  found = language_warm_start.imitate_expert(
    config,
    folder,
    **{
      "episodes": 10,
      "stray": 0.3,
      "epochs": 40,
      "batch_size": 16,
      "learning_rate": 1e-2,
    }
    | options,
    report=lines.append,
    pretrained=pretrained(),
  )
  assert lines[0].startswith("10 episodes, ")
  return found


def saved(folder, like):
  checkpoints = checkpoint.Checkpoints(folder)
  try:
    return checkpoints.restore_params(language_trainer._to_save(like))
  finally:
    checkpoints.close()


@pytest.mark.slow
def test_a_run_starts_where_imitation_ended(tmp_path):
  changes = {"model__lora_rank": 0, "response__evaluation_temperature": 0.0}
  config = make_config(**changes)
  found = warm(tmp_path / "warm", config)
  assert found["before"]["eval/success"] == 0.0
  assert found["after"]["eval/success"] == 1.0
  assert found["imitation/probability"] > 0.9
  json.dumps(found)
  started = make_config(
    num_updates=1, init_from=str(tmp_path / "warm"), **changes
  )
  language_trainer.train(started, tmp_path / "run", pretrained=pretrained())
  lines = metrics.read_metrics(tmp_path / "run" / "metrics.jsonl")
  assert lines[0]["eval/success"] == 1.0
  assert lines[1]["rollout/success"] > 0.8


@pytest.mark.slow
def test_adapters_alone_are_taken(tmp_path):
  found = warm(tmp_path / "warm", make_config(), epochs=4)
  assert found["imitation/loss"] > 0 and found["left_out"] == 0
  config = make_config(init_from=str(tmp_path / "warm"))
  own = language_experiment.LanguageExperiment(config, pretrained())
  state = own.initial_state(jax.random.key(7))
  assert list(state.trained) == ["lora"] and int(state.step) == 0
  kept = saved(tmp_path / "warm", state)
  jax.tree.map(np.testing.assert_array_equal, state.trained, kept)
  assert any(
    np.any(leaf)
    for path, leaf in jax.tree_util.tree_flatten_with_path(kept)[0]
    if path[-1].key == "b"
  )
  jax.tree.map(
    np.testing.assert_array_equal, state.frozen["params"], pretrained().params
  )
  # The first update is measured against these adapters, not against none.
  played, _ = test_language_experiment.played()
  advantage, _ = test_language_experiment.credited()
  moved, numbers = own.optimise(
    state, played.episodes, advantage, np.random.default_rng(0)
  )
  assert abs(numbers["loss/reference_kl"]) < 1e-6
  _, numbers = own.optimise(
    moved, played.episodes, advantage, np.random.default_rng(0)
  )
  assert numbers["loss/reference_kl"] > 1e-6


@pytest.mark.slow
def test_another_models_adapters_are_refused(tmp_path):
  warm(tmp_path / "warm", make_config(eval_every=0), epochs=1)
  config = make_config(model__lora_rank=4, init_from=str(tmp_path / "warm"))
  own = language_experiment.LanguageExperiment(config, pretrained())
  with pytest.raises(ValueError, match="another policy: parameter lora"):
    own.initial_state(jax.random.key(0))
  config = make_config(init_from=str(tmp_path / "nowhere"))
  own = language_experiment.LanguageExperiment(config, pretrained())
  with pytest.raises(ValueError, match="holds no run"):
    own.initial_state(jax.random.key(0))


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_counts_must_be_positive(name, tmp_path):
  with pytest.raises(ValueError, match=f"{name} must be at least 1"):
    warm(tmp_path, make_config(), **{name: 0})
  assert not list(tmp_path.iterdir())
