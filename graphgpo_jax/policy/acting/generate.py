"""Acting by saying: a language model thinks and names its command."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from graphgpo_jax.policy.acting import prompts, tags
from graphgpo_jax.policy.sampling import options as options_lib
from graphgpo_jax.policy.sampling import sampler as sampler_lib
from graphgpo_jax.rollouts import turns
from graphgpo_jax.rollouts.host import episodes

# A row's key is a fold of one number: (episode, step) as 20 and 12 bits.
_STEP_BITS = 12
_MOST_EPISODES = 1 << (32 - _STEP_BITS)
# Smaller ones hardly cost less, and each size compiles a program of its own.
_SMALLEST_BATCH = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
  """What the update needs of an action.

  Attributes:
    turn: ids that the sampler was fed and those it drew, with their
      log-probabilities; never made again from text.
    turns_dropped: past steps that found no room in the prompt.
    stopped: the response ended by itself, not at its longest.
    tagged: it had a well-formed <action>...</action>.
  """

  turn: turns.Turn
  turns_dropped: int
  stopped: bool
  tagged: bool


class Generator:
  """An actor for `rollouts.host.collect` that asks a language model.

  A batch is filled up to a power of two, 8 at least, with rows that sit out, so
  that few programs are compiled. Every response is drawn with a key of its own,
  from the context's `random_key` alone. Other rows change nothing in it but the
  order of sums, by the longest prompt of the batch: log-probabilities by about
  1e-6, and a token where two are as near as that.

  Attributes:
    sampler: draws the responses; `bind` gives it variables.
    prompt: how prompts are made.
    tag: what counts as a command.
    batch_size: responses drawn at once at most.
  """

  def __init__(
    self,
    sampler: sampler_lib.Sampler,
    *,
    render: prompts.RenderFn,
    encode: prompts.EncodeFn,
    decode: Callable[[Sequence[int]], str],
    prompt: prompts.PromptSpec,
    tag: tags.TagSpec,
    max_response_tokens: int,
    batch_size: int,
  ):
    """Prepares an actor; compiles nothing yet.

    Args:
      sampler: of the language model.
      render: messages to text, the model's chat template.
      encode: text to ids.
      decode: ids to text.
      prompt: how prompts are made.
      tag: what counts as a command.
      max_response_tokens: of a response.
      batch_size: responses drawn at once at most.

    Raises:
      ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
      raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    self.sampler = sampler
    self.prompt = prompt
    self.tag = tag
    self.batch_size = batch_size
    self._render, self._encode, self._decode = render, encode, decode
    self._max_response_tokens = max_response_tokens

  def bind(
    self, variables: Any, *, temperature: float = 1.0
  ) -> Callable[[Sequence[episodes.Context]], list[episodes.Action]]:
    """The function that `collect` calls.

    Args:
      variables: of the model; the sampler holds them from now on.
      temperature: of the softmax that is drawn from; 0 takes the likeliest
        token.

    Returns:
      Contexts to actions, whose `extra` is `Said`. It raises
      PromptTooLongError as the prompt's `overflow` says.
    """
    self.sampler.variables = variables
    options = options_lib.SamplingOptions(
      temperature=temperature, max_tokens=self._max_response_tokens
    )

    def act(contexts: Sequence[episodes.Context]) -> list[episodes.Action]:
      actions = []
      for start in range(0, len(contexts), self.batch_size):
        actions += self._act(contexts[start : start + self.batch_size], options)
      return actions

    return act

  def _act(self, contexts, options) -> list[episodes.Action]:
    """Actions of at least one context and at most a batch of them."""
    (seed,) = {context.seed for context in contexts}
    asked = [
      prompts.make_prompt(
        context, self.prompt, render=self._render, encode=self._encode
      )
      for context in contexts
    ]
    size = max(1 << (len(contexts) - 1).bit_length(), _SMALLEST_BATCH)
    size = min(size, self.batch_size)
    surplus = size - len(contexts)
    said = self.sampler.sample(
      [list(prompt.tokens) for prompt in asked] + [None] * surplus,
      jax.random.key(seed),
      options,
      indices=[*map(row_number, contexts), *[0] * surplus],
    )
    return [
      self._action(context, prompt, sample)
      for context, prompt, sample in zip(contexts, asked, said, strict=False)
    ]

  def _action(self, context, prompt, sample) -> episodes.Action:
    response = self._decode(sample.tokens)
    parsed = tags.parse(
      self.prompt.answer_start + response,
      context.now.admissible_actions,
      self.tag,
    )
    return episodes.Action(
      parsed.command,
      valid=parsed.valid,
      prompt=prompt.text,
      response=response,
      prompt_tokens=len(prompt.tokens),
      response_tokens=len(sample.tokens),
      extra=Said(
        turn=turns.Turn(prompt.tokens, sample.tokens, sample.log_probs),
        turns_dropped=prompt.turns_dropped,
        stopped=sample.stopped,
        tagged=parsed.tagged,
      ),
    )


def row_number(context: episodes.Context) -> int:
  """A number of its own for each step of each episode of a collection.

  Raises:
    ValueError: more episodes or steps than there are numbers for.
  """
  _, index, step = context.random_key
  if index >= _MOST_EPISODES or step >= 1 << _STEP_BITS:
    raise ValueError(
      f"episode {index}, step {step}: expected less than {_MOST_EPISODES} "
      f"episodes of less than {1 << _STEP_BITS} steps"
    )
  return (index << _STEP_BITS) | step
