"""Files of pretrained models: tensors, configs, tokenizers."""

import json

import jax.numpy as jnp

from graphgpo_jax.policy import chat, json_files, tokenizer
from graphgpo_jax.policy.pretrained import (
  config_files,
  gguf_files,
  load,
  safetensors_files,
)
from tests.fuzz.target import Target
from tests.policy import made_tokenizers
from tests.policy.pretrained import made_models

_LM = ("safetensors", "tokenizers", "gguf", "jinja2")
_SCALED = {
  "rope_scaling": {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
  },
  "eos_token_id": [2],
  "layer_types": ["full_attention"] * made_models.LAYERS,
}


def _make_single(folder):
  tensors = made_models.random_tensors("qwen3", jnp.bfloat16)
  made_models.write_directory(
    folder, made_models.config_fields("qwen3"), tensors
  )


def _make_shards(folder):
  tensors = made_models.random_tensors("llama")
  names = sorted(tensors)
  half = len(names) // 2
  made_models.write_directory(
    folder,
    made_models.config_fields("llama"),
    *(
      {name: tensors[name] for name in part}
      for part in (names[:half], names[half:])
    ),
  )


def _make_config(folder):
  fields = made_models.config_fields("llama", **_SCALED)
  (folder / "config.json").write_text(json.dumps(fields))
  yarn = made_models.config_fields(
    "qwen2",
    model_type="qwen2",
    rope_parameters={
      "rope_type": "yarn",
      "rope_theta": 1e4,
      "factor": 4.0,
      "beta_fast": 32.0,
    },
  )
  (folder / "other").mkdir()
  (folder / "other" / "config.json").write_text(json.dumps(yarn))


def _read_config(folder):
  faults = []
  for place in (folder, folder / "other"):
    path = place / config_files.CONFIG_FILE
    try:
      config = config_files.parse_config(
        json_files.read_object(path), where=str(path)
      )
      config_files.config_fields(config)
      config_files.eos_ids(place)
    except ValueError as error:
      faults.append(error)
  if faults:
    raise faults[0]


def _make_model(folder):
  fields = made_models.config_fields("llama", **_SCALED)
  made_models.write_directory(
    folder, fields, made_models.random_tensors("llama")
  )


def _make_tokenizer(folder):
  backend = made_tokenizers.smollm()
  special = {
    "eos_token": "<|im_end|>",
    "bos_token": {"content": "<|im_start|>"},
  }
  template = (
    "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
  )
  tokenizer.Tokenizer(backend, special_tokens={}).save(folder)
  settings = {**special, "chat_template": template}
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  (folder / "special_tokens_map.json").write_text(json.dumps(special))
  (folder / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')


def _read_tokenizer(folder):
  found = tokenizer.Tokenizer.from_directory(folder)
  assert found.vocabulary_size >= 0
  ids = found.encode("The quick <|im_end|> brown é fox")
  found.decode(ids)
  for name in ("eos_token", "bos_token"):
    if name in found.special_tokens:
      found.token_id(name)
  template = chat.ChatTemplate.from_directory(folder, found.special_tokens)
  if template is not None:
    template.render([{"role": "user", "content": "hello"}])
  config_files.eos_ids(folder)


def _make_gguf(folder):
  import gguf

  for family in ("llama", "qwen2"):
    made_models.write_gguf(
      folder / f"{family}.gguf",
      family,
      made_models.random_tensors(family),
      # Rows of 16 numbers are too short for blocks; half precision is not.
      quantize=gguf.GGMLQuantizationType.F16 if family == "llama" else None,
      change=_more_metadata if family == "qwen2" else None,
    )


def _more_metadata(writer):
  writer.add_array("test.array", [[1, 2], [3]])
  writer.add_rope_scaling_factor(2.0)
  writer.add_bool("test.flag", True)


def _read_gguf(folder):
  faults = []
  for path in sorted(folder.glob("*.gguf")):
    try:
      model = load.load(path)
      if model.chat_template is not None:
        model.chat_ids([{"role": "user", "content": "a b"}])
    except ValueError as error:
      faults.append(error)
  if faults:
    raise faults[0]


def _header_only(folder):
  for path in sorted(folder.glob("*.gguf")):
    gguf_files.GGUFFile(path)


def _load(folder):
  load.load(folder)


INDEX = safetensors_files.INDEX_FILE
TARGETS = (
  Target(
    "safetensors",
    _make_single,
    _load,
    1200,
    packages=_LM,
    damages=("model.safetensors",),
  ),
  Target("shards", _make_shards, _load, 600, packages=_LM, damages=(INDEX,)),
  Target("gguf", _make_gguf, _read_gguf, 1500, packages=_LM),
  Target("config", _make_config, _read_config, 900, 90),
  Target(
    "model_config",
    _make_model,
    _load,
    300,
    packages=_LM,
    damages=("config.json",),
  ),
  Target("tokenizer", _make_tokenizer, _read_tokenizer, 600, packages=_LM),
)
