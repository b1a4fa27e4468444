import dataclasses
import json

import jax.numpy as jnp
import pytest

from graphgpo_jax.policy import language_model, rope
from graphgpo_jax.policy.pretrained import config_files
from tests.policy.pretrained import made_models


def parse(**changes):
  family = changes.pop("family", "llama")
  fields = made_models.config_fields(family, **changes)
  return config_files.parse_config(fields, where="config.json")


@pytest.mark.parametrize(
  ("family", "qkv_bias", "out_bias", "qk_norm", "tied"),
  [
    ("llama", False, False, False, True),
    ("llama_bias", True, True, False, False),
    ("qwen2", True, False, False, False),
    ("qwen3", False, False, True, True),
    ("qwen3_bias", True, True, True, False),
  ],
)
def test_families(family, qkv_bias, out_bias, qk_norm, tied):
  config = parse(family=family)
  inner = config.transformer
  assert (inner.qkv_bias, inner.out_bias) == (qkv_bias, out_bias)
  assert inner.qk_norm == qk_norm
  assert config.tied_embeddings == tied
  assert config.vocabulary_size == 40
  assert (inner.num_layers, inner.width, inner.mlp_width) == (2, 16, 24)
  assert (inner.num_heads, inner.num_kv_heads, inner.head_dim) == (4, 2, 6)
  assert (inner.norm_epsilon, inner.rope_base) == (1e-5, 500.0)
  assert inner.causal and inner.rope and inner.rope_scaling is None


def test_absent_fields_have_the_defaults_of_the_family():
  silent = dict.fromkeys(("head_dim", "num_key_value_heads", "rope_theta"))
  llama = parse(**silent).transformer
  assert (llama.resolved_head_dim, llama.num_kv_heads) == (4, 4)
  assert llama.rope_base == 10_000.0
  assert parse(family="qwen3", **silent).transformer.head_dim == 128


def test_architecture_by_model_type_alone():
  config = parse(architectures=None, model_type="qwen3")
  assert config.transformer.qk_norm


def test_dtype_is_that_of_parameters_and_activations():
  fields = made_models.config_fields("llama")
  inner = config_files.parse_config(
    fields, where="", dtype=jnp.bfloat16
  ).transformer
  assert inner.dtype == inner.param_dtype == jnp.bfloat16


LLAMA3 = {
  "rope_type": "llama3",
  "factor": 8,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
  ("scaling", "expected"),
  [
    ({"type": "linear", "factor": 2.0}, rope.RopeScaling("linear", 2.0)),
    (LLAMA3, rope.RopeScaling("llama3", 8.0, 64, 1.0, 4.0)),
    ({"rope_type": "yarn", "factor": 4.0}, rope.RopeScaling("yarn", 4.0, 128)),
    (
      {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.2},
      rope.RopeScaling("yarn", 4.0, 128, attention_factor=1.2),
    ),
    ({"rope_type": "default"}, None),
  ],
)
def test_rope_scaling_in_either_place(scaling, expected):
  old = parse(rope_scaling=scaling).transformer
  new = parse(
    rope_theta=None, rope_parameters={"rope_theta": 500, **scaling}
  ).transformer
  assert old.rope_scaling == new.rope_scaling == expected
  assert old.rope_base == new.rope_base == 500.0


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel.*Qwen3ForCausal"),
    ({"architectures": None, "model_type": "mamba"}, "'mamba'"),
    ({"architectures": None}, "unknown architecture None"),
    ({"hidden_act": "gelu"}, "hidden_act='gelu'.*'silu'"),
    ({"use_sliding_window": True}, "use_sliding_window=True"),
    ({"layer_types": ["sliding_attention"]}, "layer_types.*sliding"),
    ({"mlp_bias": True}, "mlp_bias"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ({"hidden_size": None}, "hidden_size is missing"),
    ({"hidden_size": "16"}, "hidden_size='16'.*int"),
    ({"hidden_size": True}, "hidden_size=True.*int"),
    ({"num_key_value_heads": 3}, "config.json: num_kv_heads=3"),
    ({"head_dim": 5}, "config.json: head_dim=5"),
    ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope'.*llama3"),
    ({"rope_scaling": {"rope_type": "linear"}}, "factor is missing"),
    (
      {"rope_scaling": {"rope_type": "linear", "factor": 0.5}},
      "config.json: factor=0.5",
    ),
    (
      {"rope_scaling": {**LLAMA3, "low_freq_factor": None}},
      "low_freq_factor is missing",
    ),
    (
      {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}},
      "mscale",
    ),
    (
      {"rope_parameters": {"rope_theta": 1.0, "partial_rotary_factor": 0.5}},
      "partial_rotary_factor",
    ),
  ],
)
def test_errors_name_the_field(changes, words):
  with pytest.raises(ValueError, match=words):
    parse(**changes)


SCALINGS = [
  None,
  rope.RopeScaling("linear", 2.0),
  rope.RopeScaling("llama3", 8.0, 64, 1.0, 4.0),
  rope.RopeScaling("yarn", 4.0, 64, attention_factor=1.1),
]


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_round_trip(family, scaling):
  config = parse(family=family)
  inner = dataclasses.replace(config.transformer, rope_scaling=scaling)
  config = dataclasses.replace(config, transformer=inner)
  # As a file would hold it.
  fields = json.loads(json.dumps(config_files.config_fields(config)))
  assert config_files.parse_config(fields, where="") == config


@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_architecture_is_written_as_it_was(family):
  fields = config_files.config_fields(parse(family=family), max_positions=99)
  architecture, more = made_models.FAMILIES[family]
  assert fields["architectures"] == [architecture]
  assert fields["max_position_embeddings"] == 99
  assert fields.get("attention_bias", False) == ("attention_bias" in more)


@pytest.mark.parametrize(
  "changes",
  [
    {"rope": False},
    {"qkv_bias": True, "qk_norm": True},
    {"out_bias": True},
    {"out_bias": True, "qk_norm": True},
  ],
)
def test_shapes_without_an_architecture(changes):
  inner = dataclasses.replace(parse().transformer, **changes)
  config = language_model.LanguageModelConfig(4, inner)
  with pytest.raises(ValueError, match="LlamaForCausalLM, Qwen2ForCausalLM"):
    config_files.config_fields(config)


@pytest.mark.parametrize(
  ("generation", "config", "expected"),
  [
    ({"eos_token_id": [3, 4]}, {"eos_token_id": 5}, (3, 4)),
    ({"eos_token_id": 3}, {}, (3,)),
    ({}, {"eos_token_id": 5}, (5,)),
    (None, {"eos_token_id": 5}, (5,)),
    (None, {}, ()),
  ],
)
def test_eos_ids(tmp_path, generation, config, expected):
  (tmp_path / "config.json").write_text(json.dumps(config))
  if generation is not None:
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(generation))
  assert config_files.eos_ids(tmp_path) == expected


@pytest.mark.parametrize("value", ["2", [2, "3"], 2.0])
def test_eos_ids_that_are_no_numbers(tmp_path, value):
  (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": value}))
  with pytest.raises(ValueError, match="eos_token_id"):
    config_files.eos_ids(tmp_path)
