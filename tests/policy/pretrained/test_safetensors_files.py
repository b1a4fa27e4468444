import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy.pretrained import load
from tests.policy.pretrained import made_models

pytestmark = pytest.mark.extra("lm")


def split(tensors):
  """Two shards, with the tensors of each layer in both."""
  names = sorted(tensors)
  return (
    {name: tensors[name] for name in names[::2]},
    {name: tensors[name] for name in names[1::2]},
  )


@pytest.fixture
def made(tmp_path):
  """A directory of two shards and its tensors."""
  tensors = made_models.random_tensors("qwen2")
  fields = made_models.config_fields("qwen2")
  made_models.write_directory(tmp_path, fields, *split(tensors))
  return tmp_path, tensors


@pytest.mark.parametrize("family", made_models.FAMILIES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_one_file(tmp_path, family, dtype):
  tensors = made_models.random_tensors(family, dtype)
  fields = made_models.config_fields(family)
  made_models.write_directory(tmp_path, fields, tensors)
  found = load.load(tmp_path)
  expected = made_models.expected_params(tensors)
  for leaf in expected["embedding"].values():
    assert leaf.dtype == dtype
  chex.assert_trees_all_equal(
    found.params,
    jax.tree.map(lambda values: np.asarray(values, np.float32), expected),
  )
  assert found.tokenizer is None and found.chat_template is None
  assert found.max_positions == 128


def test_shards(made):
  path, tensors = made
  expected = made_models.expected_params(tensors)
  chex.assert_trees_all_equal(load.load(path).params, expected)
  low = load.load(path, dtype=jnp.bfloat16)
  assert low.config.transformer.param_dtype == jnp.bfloat16
  assert low.params["head"]["kernel"].dtype == jnp.bfloat16


def test_missing_files_are_named(made):
  path, _ = made
  (path / "model-1.safetensors").unlink()
  with pytest.raises(ValueError, match="model-1.safetensors is missing"):
    load.load(path)
  (path / "model.safetensors.index.json").unlink()
  with pytest.raises(ValueError, match="neither model.safetensors nor"):
    load.load(path)
  (path / "config.json").unlink()
  with pytest.raises(ValueError, match="config.json is missing"):
    load.load(path)
  with pytest.raises(ValueError, match="neither a directory nor a file"):
    load.load(path / "nothing")


def test_json_at_fault(made):
  path, _ = made
  index = path / "model.safetensors.index.json"
  for text, words in [
    ("{", "no JSON"),
    ("[]", "object was expected"),
    ("{}", "weight_map is missing"),
    (json.dumps({"weight_map": {"a": "../model-0.safetensors"}}), "file name"),
  ]:
    index.write_text(text)
    with pytest.raises(ValueError, match=f"index.json.*{words}"):
      load.load(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_file_is_named(made, kept):
  path, _ = made
  shard = path / "model-0.safetensors"
  shard.write_bytes(shard.read_bytes()[:kept])
  with pytest.raises(ValueError, match="model-0.safetensors: truncated"):
    load.load(path)


def test_index_names_a_tensor_that_its_shard_lacks(made):
  path, _ = made
  index = path / "model.safetensors.index.json"
  found = json.loads(index.read_text())
  found["weight_map"]["model.more.weight"] = "model-1.safetensors"
  index.write_text(json.dumps(found))
  with pytest.raises(
    ValueError, match="model-1.safetensors: tensor 'model.more.weight'"
  ):
    load.load(path)


def test_tensor_in_two_shards(made):
  path, tensors = made
  first, second = split(tensors)
  name = next(iter(first))
  fields = made_models.config_fields("qwen2")
  made_models.write_directory(path, fields, first, second | {name: first[name]})
  with pytest.raises(ValueError, match=f"'{name}' is in another shard"):
    load.load(path)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda values: values.astype(np.int32), "is of type I32"),
    (lambda values: values[:-1], r"shape \[23, 16\]; expected \[24, 16\]"),
    (lambda values: values.T.copy(), r"shape \[16, 24\]; expected \[24, 16\]"),
    (lambda values: values[None], r"shape \[1, 24, 16\]"),
    (None, "is missing"),
  ],
)
def test_tensors_at_fault_are_named(tmp_path, change, words):
  tensors = made_models.random_tensors("llama")
  name = "model.layers.1.mlp.up_proj.weight"
  values = tensors.pop(name)
  if change is not None:
    tensors[name] = change(values)
  fields = made_models.config_fields("llama")
  made_models.write_directory(tmp_path, fields, tensors)
  with pytest.raises(ValueError, match=f"'{name}'.*{words}"):
    load.load(tmp_path)


def test_config_and_weights_disagree(tmp_path):
  tensors = made_models.random_tensors("llama")
  fields = made_models.config_fields("llama", num_hidden_layers=3)
  made_models.write_directory(tmp_path, fields, tensors)
  with pytest.raises(ValueError, match="'model.layers.2.* is missing"):
    load.load(tmp_path)
  fields = made_models.config_fields("llama", num_hidden_layers=1)
  made_models.write_directory(tmp_path, fields, tensors)
  with pytest.raises(ValueError, match="'model.layers.1.* no parameter"):
    load.load(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
  fields = made_models.config_fields("llama")
  (tmp_path / "config.json").write_text(json.dumps(fields))
  (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
  with pytest.raises(ValueError, match="neither model.safetensors"):
    load.load(tmp_path)


def test_no_chat_without_tokenizer_or_template(made):
  found = load.load(made[0])
  with pytest.raises(ValueError, match="tokenizer.json is missing"):
    found.chat_ids([{"role": "user", "content": "Hello"}])
