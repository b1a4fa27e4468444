"""Text to token ids and back, as the model's own tokenizer has it."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from graphgpo_jax.policy import json_files, lm_extra

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
OLD_SETTINGS_FILE = "special_tokens_map.json"

_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
# How GGUF calls them.
_GGUF_ROLES = ("bos", "eos", "unknown", "padding")

# Kinds of tokens in GGUF.
_CONTROL = 3
_USER_DEFINED = 4

# How a text is cut before merging, by GGUF's name for it. The expressions are
# facts of the models: those of their tokenizer.json.
_QWEN2 = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
  r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_CUTS = ("gpt-2", "smollm", "qwen2", "llama-bpe")


class Tokenizer:
  """A byte-level tokenizer of the `tokenizers` package.

  Attributes:
    special_tokens: text of "bos_token", "eos_token", "unk_token" and
      "pad_token", as far as the model has them.
    where: where it was read, for errors.
  """

  def __init__(
    self,
    backend: Any,
    *,
    special_tokens: Mapping[str, str] | None = None,
    where: str = "the tokenizer",
  ):
    """Wraps a `tokenizers.Tokenizer`."""
    self._backend = backend
    self.special_tokens = dict(special_tokens or {})
    self.where = where

  @classmethod
  def from_directory(cls, directory: str | os.PathLike[str]) -> "Tokenizer":
    """Reads tokenizer.json, and the special tokens from the files beside it.

    Raises:
      ValueError: tokenizer.json is missing or none.
      ImportError: tokenizers is not installed.
    """
    directory = pathlib.Path(directory)
    tokenizers = lm_extra.require("tokenizers", "a tokenizer")
    path = directory / TOKENIZER_FILE
    if not path.is_file():
      raise ValueError(f"{directory}: {TOKENIZER_FILE} is missing")
    try:
      backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # The package raises nothing more special.
      raise ValueError(f"{path}: no tokenizer: {error}") from error
    special: dict[str, str] = {}
    for name in (OLD_SETTINGS_FILE, SETTINGS_FILE):
      if (directory / name).is_file():
        try:
          special |= _special_tokens(json_files.read_object(directory / name))
        except UnicodeEncodeError as error:
          raise ValueError(f"{directory / name}: no text: {error}") from error
    return cls(backend, special_tokens=special, where=str(path))

  @classmethod
  def from_gguf(cls, metadata: Mapping[str, Any], *, where: str) -> "Tokenizer":
    """Builds the tokenizer that a GGUF file's metadata describe.

    Args:
      metadata: the file's, as plain Python values.
      where: the file, for errors.

    Raises:
      ValueError: it is no byte-level BPE, its way to cut text is unknown, or
        words or merges are missing.
      ImportError: tokenizers is not installed.
    """
    tokens = _gguf_texts(metadata, "tokens", where)
    backend = _gguf_backend(metadata, tokens, where)
    special = {}
    for role, name in zip(_ROLES, _GGUF_ROLES, strict=True):
      index = metadata.get(f"tokenizer.ggml.{name}_token_id")
      if type(index) is int and 0 <= index < len(tokens):
        special[role] = tokens[index]
    return cls(backend, special_tokens=special, where=where)

  @property
  def vocabulary_size(self) -> int:
    """One more than the largest id."""
    vocabulary = self._backend.get_vocab(with_added_tokens=True)
    return max(vocabulary.values(), default=-1) + 1

  def encode(self, text: str) -> list[int]:
    """Ids of a text; nothing is put before or after it.

    Special tokens that the text spells out become their ids, as a rendered
    chat template needs it.
    """
    return self._backend.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
    """Text of ids, without the special tokens or with them."""
    ids = [int(index) for index in ids]
    return self._backend.decode(ids, skip_special_tokens=skip_special)

  def token_id(self, name: str) -> int:
    """Id of a token that is needed.

    Args:
      name: the token's text, "<|im_end|>" for example, or "eos_token" and the
        like for the special one that plays this role.

    Raises:
      ValueError: there is no such token.
    """
    text = self.special_tokens.get(name, name)
    found = self._backend.token_to_id(text)
    if found is None:
      raise ValueError(f"{self.where}: no token {text!r}")
    return found

  def save(
    self,
    directory: str | os.PathLike[str],
    *,
    chat_template: str | None = None,
  ) -> None:
    """Writes the files that `from_directory` and `transformers` read.

    Args:
      directory: an existing directory.
      chat_template: goes into tokenizer_config.json.
    """
    directory = pathlib.Path(directory)
    self._backend.save(str(directory / TOKENIZER_FILE))
    settings: dict[str, Any] = {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "clean_up_tokenization_spaces": False,
      **self.special_tokens,
    }
    if chat_template is not None:
      settings["chat_template"] = chat_template
    json_files.write_object(directory / SETTINGS_FILE, settings)


def gguf_eos_ids(metadata: Mapping[str, Any]) -> tuple[int, ...]:
  """Ids of the tokens that end a text or a turn, by a GGUF file's metadata.

  Raises:
    ValueError: one is no whole number.
  """
  keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
  found = [metadata[key] for key in keys if key in metadata]
  if not all(type(index) is int for index in found):
    raise ValueError(
      f"{' or '.join(keys)} is no whole number, got {found!r:.60}"
    )
  return tuple(dict.fromkeys(found))


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
  found = {}
  for role in _ROLES:
    value = settings.get(role)
    # Either the text, or an object that has it as "content".
    text = value.get("content") if isinstance(value, dict) else value
    if isinstance(text, str):
      text.encode()  # JSON may hold halves of characters, which no token is.
      found[role] = text
  return found


def _gguf_value(metadata: Mapping[str, Any], key: str, where: str) -> Any:
  key = f"tokenizer.ggml.{key}"
  if key not in metadata:
    raise ValueError(f"{where}: {key} is missing")
  return metadata[key]


def _gguf_texts(metadata: Mapping[str, Any], key: str, where: str) -> list[str]:
  found = _gguf_value(metadata, key, where)
  if not isinstance(found, list) or not set(map(type, found)) <= {str}:
    raise ValueError(f"{where}: tokenizer.ggml.{key} is no list of texts")
  return found


def _gguf_backend(
  metadata: Mapping[str, Any], tokens: Sequence[str], where: str
) -> Any:
  tokenizers = lm_extra.require("tokenizers", "a tokenizer")
  kind = _gguf_value(metadata, "model", where)
  if kind != "gpt2":
    raise ValueError(
      f"{where}: tokenizer.ggml.model={kind!r} is not supported, only "
      "byte-level BPE ('gpt2'); load the model from a directory with "
      f"{TOKENIZER_FILE}"
    )
  cut = _gguf_value(metadata, "pre", where)
  if cut not in _CUTS:
    raise ValueError(
      f"{where}: unknown tokenizer.ggml.pre={cut!r}; known: {', '.join(_CUTS)}"
    )
  # Byte-level tokens hold no space, so the first one parts the pair.
  merges = [
    tuple(pair.split(" ", 1)) for pair in _gguf_texts(metadata, "merges", where)
  ]
  if not all(map((2).__eq__, map(len, merges))):
    raise ValueError(f"{where}: tokenizer.ggml.merges holds more than pairs")
  try:
    model = tokenizers.models.BPE(
      vocab={token: index for index, token in enumerate(tokens)},
      merges=merges,
      ignore_merges=cut == "llama-bpe",
    )
  except Exception as error:  # The package raises nothing more special.
    raise ValueError(f"{where}: no tokenizer: {error}") from error
  backend = tokenizers.Tokenizer(model)
  if cut == "qwen2":
    backend.normalizer = tokenizers.normalizers.NFC()
  backend.pre_tokenizer = _pre_tokenizer(tokenizers.pre_tokenizers, cut)
  backend.decoder = tokenizers.decoders.ByteLevel()
  kinds = metadata.get("tokenizer.ggml.token_type", ())
  if not isinstance(kinds, (list, tuple)):
    raise ValueError(f"{where}: tokenizer.ggml.token_type is no list")
  for token, kind in zip(tokens, kinds, strict=False):
    if kind in (_CONTROL, _USER_DEFINED):
      special = kind == _CONTROL
      added = tokenizers.AddedToken(token, special=special, normalized=False)
      add = backend.add_special_tokens if special else backend.add_tokens
      add([added])
  return backend


def _pre_tokenizer(library: Any, cut: str) -> Any:
  if cut == "gpt-2":
    return library.ByteLevel(add_prefix_space=False)
  if cut == "smollm":
    first = library.Digits(individual_digits=True)
    last = library.ByteLevel(add_prefix_space=False)
  else:
    tokenizers = lm_extra.require("tokenizers", "a tokenizer")
    pattern = tokenizers.Regex(_QWEN2 if cut == "qwen2" else _LLAMA3)
    first = library.Split(pattern, behavior="isolated")
    last = library.ByteLevel(add_prefix_space=False, use_regex=False)
  return library.Sequence([first, last])
