"""A language model as files that `transformers` loads."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphgpo_jax.policy import json_files, lm_extra
from graphgpo_jax.policy.pretrained import (
  config_files,
  load,
  names,
  safetensors_files,
)

SHARD_BYTES = 5_000_000_000


def export(
  pretrained: load.Pretrained,
  directory: str | os.PathLike[str],
  *,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Writes config.json, safetensors and, if there are any, tokenizer files.

  Loading the directory again gives the same parameters, bit by bit. config.json
  is written last: a directory without it is an export that was cut off.

  Args:
    pretrained: the model; after training, `dataclasses.replace(pretrained,
      params=params)`. Its arrays keep their types.
    directory: to be made, or empty.
    shard_bytes: largest size of a file of tensors, unless a single tensor
      exceeds it.

  Raises:
    ValueError: the directory is not empty, the parameters are not those of
      the config, or no architecture has this shape.
    ImportError: safetensors is not installed.
  """
  directory = pathlib.Path(directory)
  numpy_files = lm_extra.require("safetensors.numpy", "an export")
  config = pretrained.config
  if config.transformer.lora is not None:
    raise ValueError("merge the adapters first: config.transformer.lora is set")
  fields = config_files.config_fields(
    config, max_positions=pretrained.max_positions
  )
  fields |= _token_ids(pretrained)
  leaves = list(names.named_leaves(config, pretrained.params))
  if directory.exists() and any(directory.iterdir()):
    raise ValueError(f"{directory}: not empty")
  directory.mkdir(parents=True, exist_ok=True)
  shards = _shards(leaves, shard_bytes)
  files = _file_names(len(shards))
  for file, shard in zip(files, shards, strict=True):
    # transformers reads nothing that does not say this.
    numpy_files.save_file(
      dict(_tensors(shard)), directory / file, metadata={"format": "pt"}
    )
  if len(shards) > 1:
    _write_index(directory, files, shards)
  if pretrained.tokenizer is not None:
    template = pretrained.chat_template
    pretrained.tokenizer.save(
      directory, chat_template=None if template is None else template.source
    )
  if pretrained.eos_ids:
    json_files.write_object(
      directory / config_files.GENERATION_FILE, _token_ids(pretrained)
    )
  json_files.write_object(directory / config_files.CONFIG_FILE, fields)


# Parameters that are written together, each with its array.
_Shard = list[tuple[names.Parameter, Any]]


def _token_ids(pretrained: load.Pretrained) -> dict[str, Any]:
  """Ids that config.json states; null, because absent means a default."""
  found: dict[str, Any] = {"bos_token_id": None, "pad_token_id": None}
  tokenizer = pretrained.tokenizer
  for role in ("bos_token", "pad_token"):
    if tokenizer is not None and role in tokenizer.special_tokens:
      found[f"{role}_id"] = tokenizer.token_id(role)
  eos_ids = list(pretrained.eos_ids)
  found["eos_token_id"] = eos_ids[0] if len(eos_ids) == 1 else eos_ids or None
  return found


def _shards(leaves: _Shard, shard_bytes: int) -> list[_Shard]:
  """Cuts parameters, in order, into runs of at most so many bytes."""
  shards: list[_Shard] = [[]]
  size = 0
  for parameter, leaf in leaves:
    if shards[-1] and size + leaf.nbytes > shard_bytes:
      shards.append([])
      size = 0
    shards[-1].append((parameter, leaf))
    size += leaf.nbytes
  return shards


def _file_names(count: int) -> list[str]:
  if count == 1:
    return [safetensors_files.SINGLE_FILE]
  return [
    f"model-{index + 1:05}-of-{count:05}.safetensors" for index in range(count)
  ]


def _tensors(shard: _Shard) -> Iterator[tuple[str, np.ndarray]]:
  """Takes parameters apart, [out, in] each."""
  for parameter, leaf in shard:
    rows_first = np.moveaxis(np.asarray(leaf), parameter.axis, 0)
    start = 0
    for tensor in parameter.tensors:
      stop = start + tensor.shape[0]
      yield tensor.name, np.ascontiguousarray(rows_first[start:stop])
      start = stop


def _write_index(
  directory: pathlib.Path, files: list[str], shards: list[_Shard]
) -> None:
  json_files.write_object(
    directory / safetensors_files.INDEX_FILE,
    {
      "metadata": {
        "total_size": sum(leaf.nbytes for shard in shards for _, leaf in shard)
      },
      "weight_map": {
        tensor.name: file
        for file, shard in zip(files, shards, strict=True)
        for parameter, _ in shard
        for tensor in parameter.tensors
      },
    },
  )
