"""Imitating an expert with a language model: lessons as prompts and answers.

A prompt is the one that acting would make of the same state, the answer the
shortest that is understood as the expert's command: an empty thought where
prompts ask for one, the command in its tags, what ends a turn. The loss is on
the answer's tokens alone.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import chex
import jax.numpy as jnp
import numpy as np

from graphgpo_jax import losses
from graphgpo_jax.policy.acting import prompts, tags
from graphgpo_jax.rollouts import turns
from graphgpo_jax.rollouts.host import expert

_EMPTY_THOUGHT = "<think></think>"


@dataclasses.dataclass(frozen=True)
class AnswerSpec:
  """How an answer is made of a command.

  Attributes:
    tag: what counts as a command.
    eos_ids: tokens that end a response.
    stop_strings: texts after which a response ends, too.
    max_tokens: of a response.
  """

  tag: tags.TagSpec
  eos_ids: tuple[int, ...]
  stop_strings: tuple[str, ...] = ()
  max_tokens: int = 512


@dataclasses.dataclass(frozen=True)
class Lessons:
  """Lessons as rows of tokens.

  Attributes:
    rows: TokenRows [n, L], a lesson each, the loss on its answer.
    num_left_out: lessons whose command cannot be said in the asked form.
  """

  rows: turns.TokenRows
  num_left_out: int


def read_lessons(
  lessons: Iterable[expert.Lesson],
  prompt: prompts.PromptSpec,
  answer: AnswerSpec,
  *,
  render: prompts.RenderFn,
  encode: prompts.EncodeFn,
) -> Lessons:
  """Lessons as a language model would meet them when it acts.

  A lesson is left out where acting would not take the answer for the expert's
  command, where the answer does not begin as `prompt.answer_start` says, or is
  too long.

  Args:
    lessons: of an expert.
    prompt: how prompts are made.
    answer: how answers are.
    render: messages to text, the model's chat template.
    encode: text to ids.

  Returns:
    Lessons.

  Raises:
    PromptTooLongError: as `prompt.overflow` says.
    ValueError: no lesson can be imitated, or nothing would end an answer.
  """
  last = end_of_turn(answer.eos_ids, render=render, encode=encode)
  found, left_out = [], 0
  for lesson in lessons:
    text = _answer(lesson, prompt, answer.tag)
    tokens = [] if text is None else [*encode(text)]
    stopped = text and any(stop in text for stop in answer.stop_strings)
    if tokens and not stopped:
      if last is None:
        raise ValueError(
          "the model has no token that ends a turn, and "
          "config.response.stop_strings has nothing that ends "
          f"{text!r}: it would never learn to stop"
        )
      tokens.append(last)
    if not tokens or len(tokens) > answer.max_tokens:
      left_out += 1
      continue
    asked = prompts.make_prompt(
      lesson.context, prompt, render=render, encode=encode
    )
    found.append(
      turns.Turn(
        np.asarray(asked.tokens), np.asarray(tokens), np.zeros(len(tokens))
      )
    )
  if not found:
    raise ValueError(
      f"none of {left_out} lessons has a command that can be said within "
      f"{answer.max_tokens} tokens, in tags, after answer_start="
      f"{prompt.answer_start!r}"
    )
  # An advantage of 1 says that there is something to learn.
  rows = turns.step_rows(
    [turns.Episode((turn,)) for turn in found], [[1.0]] * len(found)
  ).rows
  return Lessons(rows, left_out)


def end_of_turn(
  eos_ids: Sequence[int],
  *,
  render: prompts.RenderFn,
  encode: prompts.EncodeFn,
) -> int | None:
  """The token by which the chat template ends the model's turn.

  Args:
    eos_ids: tokens that end a response.
    render: messages to text.
    encode: text to ids.

  Returns:
    The first of them after an answer in a rendered conversation; the first of
    all where none is there; None where there are none.
  """
  said = "<action>look</action>"
  text = render(
    [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
  )
  after = encode(text[text.rfind(said) + len(said) :])
  return next((token for token in [*after, *eos_ids] if token in eos_ids), None)


def imitation_loss(
  log_prob: chex.Array,
  entropy: chex.Array | None,
  rows: turns.TokenRows,
  weight: chex.Array,
  share: chex.Array,
  trainer_log_prob: chex.Array | None = None,
  reference_log_prob: chex.Array | None = None,
) -> tuple[chex.Array, Mapping[str, chex.Array]]:
  """Negative log-likelihood of the tokens that carry loss.

  loss = -sum_t weight_t log p(token_t)

  Args:
    log_prob: float32 [R, L], under the model being trained.
    entropy: unused, as the last two: it stands where `rows_loss` stands.
    rows: say which tokens carry loss.
    weight: float32 [R, L], of one of `language_loss`'s weights.
    share: float32 [R, L], `token_mean_weights` of the whole batch.
    trainer_log_prob: unused.
    reference_log_prob: unused.

  Returns:
    The loss, float [], in nats, and metrics that add up over parts of a batch:
    `loss/policy`, the loss, and `imitation/probability`, the mean of the
    tokens' probabilities.
  """
  del entropy, trainer_log_prob, reference_log_prob
  (log_prob,) = losses.mask_inputs(rows.loss_mask, log_prob)
  loss = -jnp.sum(weight * log_prob)
  probability = jnp.sum(share * jnp.exp(log_prob))
  return loss, {"loss/policy": loss, "imitation/probability": probability}


def _answer(
  lesson: expert.Lesson, prompt: prompts.PromptSpec, tag: tags.TagSpec
) -> str | None:
  """What is to be said after the prompt; None where it would not do."""
  thought = _EMPTY_THOUGHT if prompt.think else ""
  whole = f"{thought}<action>{lesson.command}</action>"
  if not whole.startswith(prompt.answer_start):
    return None
  parsed = tags.parse(whole, lesson.context.now.admissible_actions, tag)
  if not parsed.valid or parsed.command != lesson.command:
    return None
  return whole[len(prompt.answer_start) :]
