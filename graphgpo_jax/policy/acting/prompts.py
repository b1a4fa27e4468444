"""What a language model is shown of an episode."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from graphgpo_jax.rollouts.host import episodes

RenderFn = Callable[[Sequence[Mapping[str, str]]], str]
EncodeFn = Callable[[str], Sequence[int]]

OVERFLOWS = ("drop", "error")

_THINK = (
  "First think step by step about where you stand and what to do next, between "
  "<think> and </think>. Then give "
)
_ACT = (
  "the one {what} that you choose for this step, between <action> and "
  "</action>."
)


class PromptTooLongError(ValueError):
  """A prompt that exceeds the limit and may not, or cannot, be shortened."""


@dataclasses.dataclass(frozen=True)
class PromptSpec:
  """How a prompt is made.

  Attributes:
    introduction: first sentence, what kind of world this is.
    history: past steps that are shown, observation and command.
    show_commands: list the admissible commands.
    think: ask for <think>...</think> before the command.
    hint: what else is to be known of commands, such as a form of theirs that
      the list does not show.
    system: message before the user's; "" leaves the template's own default.
    answer_start: what the answer begins with, as the prompt's last words: with
      "<action>" a small model, too, keeps to the form. It carries no loss.
    max_tokens: of the rendered prompt.
    overflow: what happens beyond: "drop" leaves out the oldest past steps, and
      fails where the prompt without any is still too long; "error" fails.
  """

  introduction: str = "You are an agent in a world of text."
  history: int = 2
  show_commands: bool = True
  think: bool = True
  hint: str = ""
  system: str = ""
  answer_start: str = ""
  max_tokens: int = 2048
  overflow: str = "drop"

  def __post_init__(self):
    if self.history < 0:
      raise ValueError(f"history must be at least 0, got {self.history}")
    if self.max_tokens < 1:
      raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
    if self.overflow not in OVERFLOWS:
      raise ValueError(
        f"overflow={self.overflow!r} does not exist; there are "
        f"{', '.join(OVERFLOWS)}"
      )


@dataclasses.dataclass(frozen=True)
class Prompt:
  """A prompt.

  Attributes:
    text: as the chat template renders it, and the answer's start.
    tokens: its ids, which the sampler is fed.
    turns_dropped: past steps that found no room.
  """

  text: str
  tokens: tuple[int, ...]
  turns_dropped: int


def make_prompt(
  context: episodes.Context,
  spec: PromptSpec,
  *,
  render: RenderFn,
  encode: EncodeFn,
) -> Prompt:
  """The prompt of a step, within the limit.

  Args:
    context: the episode so far.
    spec: how a prompt is made.
    render: messages to text, a chat template's.
    encode: text to ids.

  Returns:
    Prompt.

  Raises:
    PromptTooLongError: as `spec.overflow` says; the message names task, step
      and length.
  """
  shown = min(spec.history, len(context.past))
  for turns in range(shown, -1, -1):
    messages = [{"role": "user", "content": write(context, spec, turns=turns)}]
    if spec.system:
      messages.insert(0, {"role": "system", "content": spec.system})
    text = render(messages) + spec.answer_start
    tokens = tuple(encode(text))
    if len(tokens) <= spec.max_tokens:
      return Prompt(text, tokens, shown - turns)
    if spec.overflow == "error":
      break
  raise PromptTooLongError(
    f"task {context.plan.task_id!r}, step {len(context.past)}: the prompt has "
    f"{len(tokens)} tokens with {turns} past steps, more than max_tokens="
    f"{spec.max_tokens}"
  )


def write(context: episodes.Context, spec: PromptSpec, *, turns: int) -> str:
  """The user's message.

  Args:
    context: the episode so far.
    spec: how a prompt is made.
    turns: past steps to show, at most those there are.

  Returns:
    The text, in which the world's words spell no special token.
  """
  now, past = context.now, context.past
  parts = [f"{spec.introduction} Your task: {plain(now.task)}"]
  if turns:
    first = len(past) - turns
    steps = [
      f"Step {first + index + 1}. You saw: {plain(turn.before.observation)}\n"
      f"You did: {plain(turn.action.command)}"
      for index, turn in enumerate(past[first:])
    ]
    parts.append(
      f"Steps taken so far: {len(past)}. The last of them:\n" + "\n".join(steps)
    )
  parts.append(
    f"This is step {len(past) + 1}. You see: {plain(now.observation)}"
  )
  if spec.show_commands and now.admissible_actions:
    listed = "\n".join(map(plain, now.admissible_actions))
    parts.append(f"Commands that you can give now:\n{listed}")
  if spec.hint:
    parts.append(spec.hint)
  what = "command of the list" if spec.show_commands else "command"
  if spec.hint or not now.admissible_actions:
    what = "command"
  ask = _THINK + _ACT if spec.think else "Give " + _ACT
  parts.append(ask.format(what=what))
  return "\n\n".join(parts)


def plain(text: str) -> str:
  """A text whose characters stay characters.

  A rendered template is encoded as a whole, special tokens included, which in
  the families that can be loaded begin with "<|". A world, or a command that a
  model made up, must not end a turn or begin one.
  """
  return text.replace("<|", "< |").strip()
