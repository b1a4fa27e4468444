import dataclasses
import json

import chex
import jax.numpy as jnp
import pytest

from graphgpo_jax.policy import chat, lora, tokenizer
from graphgpo_jax.policy.pretrained import export, load
from tests.policy import made_tokenizers
from tests.policy.pretrained import made_models

pytestmark = pytest.mark.extra("lm")


@pytest.fixture(params=made_models.FAMILIES)
def model(request, tmp_path):
  tensors = made_models.random_tensors(request.param)
  fields = made_models.config_fields(
    request.param,
    rope_scaling={"rope_type": "linear", "factor": 2.0},
    eos_token_id=3,
  )
  made_models.write_directory(tmp_path / "made", fields, tensors)
  return load.load(tmp_path / "made")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shard_bytes", [10**9, 4000])
def test_round_trip(model, dtype, shard_bytes, tmp_path):
  # As bfloat16 weights come out of a load.
  model = load.load(model.where, dtype=dtype)
  export.export(model, tmp_path / "out", shard_bytes=shard_bytes)
  again = load.load(tmp_path / "out", dtype=dtype)
  chex.assert_trees_all_equal_dtypes(again.params, model.params)
  chex.assert_trees_all_equal(again.params, model.params)
  assert again.config == model.config
  assert again.eos_ids == (3,) and again.max_positions == 128
  files = sorted(path.name for path in (tmp_path / "out").glob("*safetensors*"))
  if shard_bytes == 10**9:
    assert files == ["model.safetensors"]
  else:
    assert len(files) > 3
    assert files[0].startswith("model-00001-of-000")
    index = json.loads((tmp_path / "out" / files[-1]).read_text())
    assert set(index["weight_map"].values()) == set(files[:-1])


@pytest.mark.parametrize("eos_ids", [(), (2,), (2, 0)])
def test_tokenizer_and_template_go_along(tmp_path, eos_ids):
  fields = made_models.config_fields("llama", vocab_size=400)
  tensors = made_models.random_tensors("llama")
  table = jnp.zeros((400, made_models.WIDTH))
  tensors["model.embed_tokens.weight"] = jnp.asarray(table).__array__()
  made_models.write_directory(tmp_path / "made", fields, tensors)
  words = tokenizer.Tokenizer(
    made_tokenizers.smollm(),
    special_tokens={"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"},
  )
  template = chat.ChatTemplate(
    "{{ bos_token }}{{ messages[0].content }}", words.special_tokens
  )
  model = dataclasses.replace(
    load.load(tmp_path / "made"),
    tokenizer=words,
    chat_template=template,
    eos_ids=eos_ids,
  )
  export.export(model, tmp_path / "out")
  again = load.load(tmp_path / "out")
  assert again.eos_ids == eos_ids
  message = [{"role": "user", "content": "open fridge 1"}]
  assert again.chat_ids(message) == model.chat_ids(message)
  assert again.chat_ids(message)[0] == 1
  fields = json.loads((tmp_path / "out" / "config.json").read_text())
  assert fields["bos_token_id"] == 1
  assert fields["pad_token_id"] is None


def test_what_cannot_be_exported(model, tmp_path):
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "file").touch()
  with pytest.raises(ValueError, match="full: not empty"):
    export.export(model, tmp_path / "full")
  params = dict(model.params)
  del params["embedding"]
  broken = dataclasses.replace(model, params=params)
  with pytest.raises(ValueError, match="embedding/table is missing"):
    export.export(broken, tmp_path / "out")
  inner = dataclasses.replace(
    model.config.transformer, lora=lora.LoraConfig(rank=2, alpha=2.0)
  )
  config = dataclasses.replace(model.config, transformer=inner)
  with pytest.raises(ValueError, match="merge the adapters first"):
    export.export(dataclasses.replace(model, config=config), tmp_path / "out")
  assert not (tmp_path / "out").exists()
