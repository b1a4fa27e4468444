"""A pretrained language model from a directory or a GGUF file."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from graphgpo_jax.policy import chat, json_files, language_model
from graphgpo_jax.policy import tokenizer as tokenizer_lib
from graphgpo_jax.policy.pretrained import (
  config_files,
  gguf_files,
  names,
  placing,
  safetensors_files,
)


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A model with what is needed to talk to it.

  Attributes:
    config: its shape.
    params: parameters of `language_model.LanguageModel(config)`.
    tokenizer: text to ids and back, where its files were there.
    chat_template: messages to text, where the model has one.
    eos_ids: tokens that end a generation.
    max_positions: longest sequence the model was made for, if known.
    where: where it was read, for errors.
  """

  config: language_model.LanguageModelConfig
  params: Any
  tokenizer: tokenizer_lib.Tokenizer | None = None
  chat_template: chat.ChatTemplate | None = None
  eos_ids: tuple[int, ...] = ()
  max_positions: int | None = None
  where: str = "the model"

  def require_tokenizer(self) -> tokenizer_lib.Tokenizer:
    """The tokenizer.

    Raises:
      ValueError: there is none.
    """
    if self.tokenizer is None:
      raise ValueError(
        f"{self.where}: {tokenizer_lib.TOKENIZER_FILE} is missing"
      )
    return self.tokenizer

  def chat_ids(
    self, messages: Sequence[Mapping[str, str]], **options: Any
  ) -> list[int]:
    """Token ids of a conversation, ready for the model's answer.

    Args:
      messages: as for `chat.ChatTemplate.render`.
      **options: as for `chat.ChatTemplate.render`.

    Returns:
      The ids.

    Raises:
      ValueError: there is no tokenizer or no chat template.
    """
    tokenizer = self.require_tokenizer()
    if self.chat_template is None:
      raise ValueError(
        f"{self.where}: no chat template ({chat.TEMPLATE_FILE}, or "
        f"chat_template in {tokenizer_lib.SETTINGS_FILE} or in GGUF metadata); "
        "this is no chat model"
      )
    return tokenizer.encode(self.chat_template.render(messages, **options))


def load(
  path: str | os.PathLike[str],
  *,
  dtype: Any = jnp.float32,
  sharding: placing.ShardingRule | None = None,
) -> Pretrained:
  """Reads a model of the Llama or Qwen family.

  Tensors go one by one into their type and place; beside the finished model
  there is never more than one unfinished parameter in memory.

  Args:
    path: a directory with config.json and safetensors, or a .gguf file, which
      is dequantised.
    dtype: type of parameters and activations, float32 or bfloat16.
    sharding: where parameters go: a sharding for all, or a function from path
      and shape to one, such as `partition.sharding_rule(mesh)`. The first
      device where None.

  Returns:
    The model.

  Raises:
    ValueError: the path holds no model that can be read; the message names
      the file, field or tensor.
    ImportError: a package of the extra [lm] is missing.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    return _from_directory(path, dtype, sharding)
  if path.is_file():
    return _from_gguf(path, dtype, sharding)
  raise ValueError(f"{path}: neither a directory nor a file")


def _from_directory(
  path: pathlib.Path, dtype: Any, sharding: placing.ShardingRule | None
) -> Pretrained:
  fields = json_files.read_object(path / config_files.CONFIG_FILE)
  config = config_files.parse_config(
    fields, where=str(path / config_files.CONFIG_FILE), dtype=dtype
  )
  # Before the weights: it is quick, and may end in an error.
  tokenizer, special = None, {}
  if (path / tokenizer_lib.TOKENIZER_FILE).is_file():
    tokenizer = tokenizer_lib.Tokenizer.from_directory(path)
    special = tokenizer.special_tokens
    _check_vocabulary(tokenizer, config, str(path))
  template = chat.ChatTemplate.from_directory(path, special)
  eos_ids = config_files.eos_ids(path)
  source = safetensors_files.SafetensorsDirectory(path)
  params = _load(source, config, names.HUGGING_FACE, sharding)
  return Pretrained(
    config=config,
    params=params,
    tokenizer=tokenizer,
    chat_template=template,
    eos_ids=eos_ids,
    max_positions=config_files.max_positions(
      fields, where=str(path / config_files.CONFIG_FILE)
    ),
    where=str(path),
  )


def _from_gguf(
  path: pathlib.Path, dtype: Any, sharding: placing.ShardingRule | None
) -> Pretrained:
  source = gguf_files.GGUFFile(path)
  fields = source.config_fields()
  config = config_files.parse_config(fields, where=str(path), dtype=dtype)
  tokenizer = tokenizer_lib.Tokenizer.from_gguf(
    source.metadata, where=str(path)
  )
  _check_vocabulary(tokenizer, config, str(path))
  template = chat.ChatTemplate.from_gguf(
    source.metadata, tokenizer.special_tokens
  )
  params = _load(source, config, names.GGUF, sharding)
  return Pretrained(
    config=config,
    params=params,
    tokenizer=tokenizer,
    chat_template=template,
    eos_ids=tokenizer_lib.gguf_eos_ids(source.metadata),
    max_positions=fields["max_position_embeddings"],
    where=str(path),
  )


def _load(
  source: placing.TensorSource,
  config: language_model.LanguageModelConfig,
  naming: names.Naming,
  sharding: placing.ShardingRule | None,
) -> dict[str, Any]:
  # Before a table of them is made: any number may stand in a file.
  if config.transformer.num_layers > len(source.names()):
    raise ValueError(
      f"{source.where}: {len(source.names())} tensors are too few for "
      f"{config.transformer.num_layers} blocks"
    )
  return placing.load_params(
    source,
    names.parameter_table(config, naming),
    naming=naming,
    dtype=config.transformer.param_dtype,
    sharding=sharding,
  )


def _check_vocabulary(
  tokenizer: tokenizer_lib.Tokenizer,
  config: language_model.LanguageModelConfig,
  where: str,
) -> None:
  # A table may be longer than the vocabulary, as padding often makes it.
  if tokenizer.vocabulary_size > config.vocabulary_size:
    raise ValueError(
      f"{where}: the tokenizer has {tokenizer.vocabulary_size} tokens, the "
      f"model {config.vocabulary_size}"
    )
