import chex
import jax
import numpy as np
import pytest

from graphgpo_jax.policy import rope
from graphgpo_jax.policy.pretrained import config_files, load
from tests.policy.pretrained import made_models

pytestmark = pytest.mark.extra("lm")


@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_equals_the_directory_it_was_made_from(tmp_path, family):
  tensors = made_models.random_tensors(family)
  path = tmp_path / "model.gguf"
  made_models.write_gguf(path, family, tensors)
  found = load.load(path)
  chex.assert_trees_all_equal(
    found.params, made_models.expected_params(tensors)
  )
  expected = config_files.parse_config(
    made_models.config_fields(family), where=""
  )
  inner, wanted = found.config.transformer, expected.transformer
  assert abs(inner.norm_epsilon / wanted.norm_epsilon - 1) < 1e-6
  for name in ("num_layers", "width", "num_heads", "num_kv_heads", "head_dim"):
    assert getattr(inner, name) == getattr(wanted, name)
  for name in ("mlp_width", "rope_base", "qk_norm", "causal"):
    assert getattr(inner, name) == getattr(wanted, name)
  for name in ("qkv_bias", "out_bias"):
    assert getattr(inner, name) == getattr(wanted, name)
  assert found.config.tied_embeddings == expected.tied_embeddings
  assert found.config.vocabulary_size == made_models.VOCABULARY
  assert found.max_positions == 128


def test_llama_with_biases_of_its_inputs_alone(tmp_path):
  tensors = {
    name: values
    for name, values in made_models.random_tensors("llama_bias").items()
    if not name.endswith("o_proj.bias")
  }
  path = tmp_path / "model.gguf"
  made_models.write_gguf(path, "llama_bias", tensors)
  found = load.load(path)
  chex.assert_trees_all_equal(
    found.params, made_models.expected_params(tensors)
  )
  assert not found.config.transformer.out_bias


def test_tokenizer_and_template_come_along(tmp_path):
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("qwen3")
  made_models.write_gguf(path, "qwen3", tensors)
  found = load.load(path)
  (end,) = found.eos_ids
  assert found.tokenizer.token_id("eos_token") == end
  ids = found.chat_ids([{"role": "user", "content": "abc1 a"}])
  assert found.tokenizer.decode(ids[:-1]) == "abc1 a"
  assert ids[-1] == end
  # Merged as the list of merges says.
  assert ids[:-1] == [
    found.tokenizer.token_id(token) for token in ("ab", "c", "1", "Ġa")
  ]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_quantised_tensors(tmp_path, family, kind, monkeypatch):
  import gguf

  # Rows of a whole number of blocks.
  for name, size in (("WIDTH", 32), ("HEAD", 16), ("MLP", 64)):
    monkeypatch.setattr(made_models, name, size)
  tensors = made_models.random_tensors(family)
  path = tmp_path / "model.gguf"
  quantize = gguf.GGMLQuantizationType[kind]
  made_models.write_gguf(path, family, tensors, quantize=quantize)
  expected = made_models.expected_params(tensors)
  found = load.load(path).params
  # The largest step of 8 bits for normal numbers; bfloat16 has 8 bits, too.
  chex.assert_trees_all_close(found, expected, atol=4.5 / 254, rtol=2**-8)
  leaves = jax.tree.leaves(jax.tree.map(np.array_equal, found, expected))
  assert not all(leaves)


@pytest.mark.parametrize("kept", [0, 3, 30, 500, 0.5, -1])
def test_truncated_file(tmp_path, kept):
  path = tmp_path / "model.gguf"
  made_models.write_gguf(path, "llama", made_models.random_tensors("llama"))
  data = path.read_bytes()
  path.write_bytes(data[: int(kept * len(data)) if kept == 0.5 else kept])
  with pytest.raises(ValueError, match="model.gguf: truncated"):
    load.load(path)


def test_what_is_no_gguf_file(tmp_path):
  path = tmp_path / "model.gguf"
  path.write_bytes(b"PK" + bytes(1000))
  with pytest.raises(ValueError, match="no GGUF file"):
    load.load(path)


def llama3_divisors(writer):
  scaling = rope.RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)
  writer.add_tensor("rope_freqs.weight", divisors(scaling))


def divisors(scaling):
  options = {"base": made_models.FIELDS["rope_theta"]}
  plain = rope.inverse_frequencies(made_models.HEAD, **options)
  scaled = rope.inverse_frequencies(
    made_models.HEAD, scaling=scaling, **options
  )
  return plain / scaled


def yarn(writer):
  import gguf

  writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
  writer.add_rope_scaling_factor(4.0)
  writer.add_rope_scaling_orig_ctx_len(32)


def linear(writer):
  import gguf

  writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
  writer.add_rope_scaling_factor(2.0)


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    (yarn, rope.RopeScaling("yarn", 4.0, 32)),
    (linear, rope.RopeScaling("linear", 2.0)),
  ],
)
def test_rope_scaling(tmp_path, change, expected):
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("qwen2")
  made_models.write_gguf(path, "qwen2", tensors, change=change)
  assert load.load(path).config.transformer.rope_scaling == expected


def test_llama3_scaling_from_its_divisors(tmp_path, monkeypatch):
  # So that wavelengths lie on both sides of the original context.
  monkeypatch.setitem(made_models.FIELDS, "rope_theta", 500_000.0)
  monkeypatch.setattr(made_models, "HEAD", 16)
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("llama")
  expected = rope.RopeScaling("llama3", 32.0, 8192, 1.0, 4.0)
  made_models.write_gguf(path, "llama", tensors, change=llama3_divisors)
  assert load.load(path).config.transformer.rope_scaling == expected

  def other(writer):
    scaling = rope.RopeScaling("llama3", 32.0, 4096, 1.0, 4.0)
    writer.add_tensor("rope_freqs.weight", divisors(scaling))

  path.unlink()
  made_models.write_gguf(path, "llama", tensors, change=other)
  with pytest.raises(ValueError, match="'rope_freqs.weight' is no llama3"):
    load.load(path)


def set_value(key, value):
  def change(writer):
    # Over what was added before.
    for values in writer.kv_data:
      if key in values:
        values[key].value = value
        return
    raise KeyError(key)

  return change


def drop(key):
  def change(writer):
    for values in writer.kv_data:
      values.pop(key, None)

  return change


def add_experts(writer):
  writer.add_expert_count(4)


def add_parts(writer):
  writer.add_uint16("split.count", 2)


def add_integers(writer):
  writer.add_tensor("blk.0.extra", np.zeros(4, np.int32))


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (set_value("general.architecture", "gpt2"), "'gpt2'; known: llama, qwen2"),
    (drop("llama.block_count"), "llama.block_count=None"),
    (drop("llama.attention.layer_norm_rms_epsilon"), "rms_epsilon=None"),
    (set_value("llama.attention.value_length", 8), "value_length=8 differs"),
    (add_experts, "mixture of experts"),
    (add_parts, "one part of several"),
    (add_integers, "'blk.0.extra' belongs to no parameter"),
    (drop("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens is missing"),
    (drop("tokenizer.ggml.pre"), "tokenizer.ggml.pre is missing"),
    (set_value("tokenizer.ggml.pre", "falcon"), "'falcon'; known: gpt-2"),
    (set_value("tokenizer.ggml.model", "llama"), "only byte-level BPE"),
    (set_value("tokenizer.ggml.merges", ["a B"]), "no tokenizer: .*B"),
  ],
)
def test_metadata_at_fault_are_named(tmp_path, change, words):
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("llama")
  made_models.write_gguf(path, "llama", tensors, change=change)
  with pytest.raises(ValueError, match=words) as caught:
    load.load(path)
  assert str(path) in str(caught.value)


def test_tensors_at_fault_are_named(tmp_path):
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("llama")
  name = "model.layers.1.mlp.down_proj.weight"
  values = tensors.pop(name)
  made_models.write_gguf(path, "llama", tensors)
  with pytest.raises(ValueError, match="'blk.1.ffn_down.weight' is missing"):
    load.load(path)
  tensors[name] = values[:, :-1]
  path.unlink()
  made_models.write_gguf(path, "llama", tensors)
  with pytest.raises(
    ValueError, match=r"'blk.1.ffn_down.weight' .*\[16, 23\].*\[16, 24\]"
  ):
    load.load(path)


def test_integers_for_weights(tmp_path):
  import gguf

  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("llama")
  norm = tensors.pop("model.norm.weight").astype(np.int32)

  def change(writer):
    kind = gguf.GGMLQuantizationType.I32
    writer.add_tensor("output_norm.weight", norm, raw_dtype=kind)

  made_models.write_gguf(path, "llama", tensors, change=change)
  with pytest.raises(ValueError, match="'output_norm.weight' is of type I32"):
    load.load(path)


def test_tokenizer_with_more_words_than_the_model(tmp_path):
  path = tmp_path / "model.gguf"
  tensors = made_models.random_tensors("llama")
  name = "model.embed_tokens.weight"
  tensors[name] = tensors[name][:-3]
  made_models.write_gguf(path, "llama", tensors)
  with pytest.raises(ValueError, match="tokenizer has 40 tokens, the model 37"):
    load.load(path)
