"""Conversations as the text that a chat model was trained on."""

import datetime
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from graphgpo_jax.policy import json_files, lm_extra
from graphgpo_jax.policy import tokenizer as tokenizer_lib

TEMPLATE_FILE = "chat_template.jinja"

# What a template that is at fault may raise beside jinja2's own errors.
_FAULTS = (
  TypeError,
  ValueError,
  LookupError,
  ArithmeticError,
  AttributeError,
  RecursionError,
)
# Characters or entries that a template may make by one multiplication, and the
# largest power: a short file shall not fill the memory.
_MOST_COPIES = 2**20
_MOST_BITS = 2**12
# A width or precision of more digits, or one that is a variable.
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)")


class ChatTemplate:
  """A model's own chat template, run in jinja2's sandbox.

  Templates are text from a model file; the sandbox lets them reach nothing
  but the conversation.

  Attributes:
    source: the template.
  """

  def __init__(
    self, source: str, special_tokens: Mapping[str, str] | None = None
  ):
    """Compiles a template.

    Args:
      source: the template, in jinja2's language.
      special_tokens: what templates may name, as "bos_token".

    Raises:
      ValueError: it is no template.
      ImportError: jinja2 is not installed.
    """
    if not isinstance(source, str):
      raise ValueError(f"chat template: expected a text, got {source!r:.60}")
    self.source = source
    self._special_tokens = dict(special_tokens or {})
    self._jinja2 = lm_extra.require("jinja2", "a chat template")
    try:
      self._template = _environment().from_string(source)
    except (self._jinja2.TemplateError, *_FAULTS) as error:
      raise ValueError(f"chat template: {error}") from error

  @classmethod
  def from_directory(
    cls,
    directory: str | os.PathLike[str],
    special_tokens: Mapping[str, str] | None = None,
  ) -> "ChatTemplate | None":
    """The template of a model directory, or None where it has none.

    Raises:
      ValueError: a file is at fault.
      ImportError: jinja2 is not installed.
    """
    directory = pathlib.Path(directory)
    if (directory / TEMPLATE_FILE).is_file():
      try:
        source = (directory / TEMPLATE_FILE).read_text(encoding="utf-8")
      except UnicodeDecodeError as error:
        raise ValueError(
          f"{directory / TEMPLATE_FILE}: no text: {error}"
        ) from error
      return cls(source, special_tokens)
    settings = directory / tokenizer_lib.SETTINGS_FILE
    if not settings.is_file():
      return None
    found = json_files.read_object(settings).get("chat_template")
    if isinstance(found, list):
      # Several by name; this is the one of plain conversations.
      named = [one for one in found if isinstance(one, dict)]
      found = next(
        (one.get("template") for one in named if one.get("name") == "default"),
        None,
      )
    return None if found is None else cls(found, special_tokens)

  @classmethod
  def from_gguf(
    cls,
    metadata: Mapping[str, Any],
    special_tokens: Mapping[str, str] | None = None,
  ) -> "ChatTemplate | None":
    """The template in a GGUF file's metadata, or None where it has none."""
    source = metadata.get("tokenizer.chat_template")
    return None if source is None else cls(source, special_tokens)

  def render(
    self,
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool = True,
    **options: Any,
  ) -> str:
    """The conversation as one text, special tokens spelled out.

    Args:
      messages: each a mapping with "role" and "content".
      add_generation_prompt: end with what starts the model's own turn.
      **options: variables of this model's template, such as
        `enable_thinking` of Qwen3.

    Returns:
      The text.

    Raises:
      ValueError: a message lacks a field, or the template refuses them.
    """
    for index, message in enumerate(messages):
      for field in ("role", "content"):
        if not isinstance(message.get(field), str):
          raise ValueError(
            f"message {index}: {field}={message.get(field)!r} is no text"
          )
    variables = {
      **self._special_tokens,
      "messages": [dict(message) for message in messages],
      "add_generation_prompt": add_generation_prompt,
      "tools": None,
      "documents": None,
      **options,
    }
    try:
      return self._template.render(variables)
    except (self._jinja2.TemplateError, *_FAULTS) as error:
      raise ValueError(f"chat template: {error}") from error


def _check_size(operator: str, left: Any, right: Any) -> None:
  """Refuses what would make very long texts, lists or numbers."""
  if operator == "%" and isinstance(left, str) and _WIDE.search(left):
    raise ValueError(f"{left!r:.60} asks for too wide a text")
  if (
    operator == "**"
    and isinstance(left, int)
    and isinstance(right, int)
    and left.bit_length() * right > _MOST_BITS
  ):
    raise ValueError(f"{left} ** {right} is too large a number")
  if operator == "*":
    for one, times in ((left, right), (right, left)):
      if (
        isinstance(one, (str, list, tuple))
        and isinstance(times, int)
        and len(one) * times > _MOST_COPIES
      ):
        raise ValueError(f"{len(one)} entries {times} times are too many")


def _environment() -> Any:
  """What templates of Hugging Face expect to find."""
  jinja2 = lm_extra.require("jinja2", "a chat template")
  sandbox = lm_extra.require("jinja2.sandbox", "a chat template")

  class Environment(sandbox.ImmutableSandboxedEnvironment):  # type: ignore[name-defined]
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context, operator, left, right):
      _check_size(operator, left, right)
      return super().call_binop(context, operator, left, right)

  environment = Environment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.loopcontrols"],
  )

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  def strftime_now(pattern):
    return datetime.datetime.now().strftime(pattern)

  # Not jinja2's own, which escapes for HTML.
  def tojson(
    value, ensure_ascii=False, indent=None, separators=None, sort_keys=False
  ):
    return json.dumps(
      value,
      ensure_ascii=ensure_ascii,
      indent=indent,
      separators=separators,
      sort_keys=sort_keys,
    )

  environment.filters["tojson"] = tojson
  environment.globals["raise_exception"] = raise_exception
  environment.globals["strftime_now"] = strftime_now
  return environment
