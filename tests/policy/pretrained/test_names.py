import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import pytest

from graphgpo_jax.policy import language_model
from graphgpo_jax.policy.pretrained import config_files, names
from tests.policy.pretrained import made_models


def make_config(family):
  return config_files.parse_config(
    made_models.config_fields(family), where="config.json"
  )


@pytest.mark.parametrize("naming", [names.HUGGING_FACE, names.GGUF])
@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_table_has_the_parameters_of_the_model(family, naming):
  config = make_config(family)
  tokens = jnp.zeros((1, 3), jnp.int32)
  params = jax.eval_shape(
    language_model.LanguageModel(config).init,
    jax.random.key(0),
    tokens,
    jnp.ones((1, 3), bool),
  )["params"]
  shapes = {
    path: leaf.shape
    for path, leaf in flax.traverse_util.flatten_dict(params).items()
  }
  table = names.parameter_table(config, naming)
  assert {path: one.shape for path, one in table.items()} == shapes


@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_table_names_the_tensors_of_a_file(family):
  table = names.parameter_table(make_config(family), names.HUGGING_FACE)
  found = {
    tensor.name: tensor.shape
    for parameter in table.values()
    for tensor in parameter.tensors
  }
  tensors = made_models.random_tensors(family)
  expected = {name: values.shape for name, values in tensors.items()}
  assert found == expected
  gguf = names.parameter_table(make_config(family), names.GGUF)
  assert {
    tensor.name for parameter in gguf.values() for tensor in parameter.tensors
  } == {made_models.gguf_name(name) for name in expected}


def check(family="llama", drop=(), add=()):
  table = names.parameter_table(make_config(family), names.HUGGING_FACE)
  found = set(made_models.random_tensors(family)) - set(drop) | set(add)
  names.check_names(found, table, names.HUGGING_FACE, where="model")


def test_what_may_be_left_over():
  check()
  check(add=["lm_head.weight"])
  check(add=["model.layers.0.self_attn.rotary_emb.inv_freq"])


@pytest.mark.parametrize(
  ("options", "words"),
  [
    (
      {"drop": ["model.layers.1.mlp.up_proj.weight"]},
      "model: tensor 'model.layers.1.mlp.up_proj.weight' is missing",
    ),
    (
      {"drop": ["model.norm.weight", "model.embed_tokens.weight"]},
      "and 1 more",
    ),
    (
      {"family": "qwen2", "drop": ["lm_head.weight"]},
      "'lm_head.weight' is missing",
    ),
    (
      {"add": ["model.layers.2.mlp.up_proj.weight"]},
      "'model.layers.2.mlp.up_proj.weight' belongs to no parameter",
    ),
    ({"add": ["model.layers.0.mlp.up_proj.bias"]}, "up_proj.bias"),
    ({"add": ["model.layers.0.self_attn.o_proj.bias"]}, "o_proj.bias"),
    (
      {
        "family": "llama_bias",
        "drop": ["model.layers.0.self_attn.o_proj.bias"],
      },
      "'model.layers.0.self_attn.o_proj.bias' is missing",
    ),
  ],
)
def test_missing_and_surplus_tensors_are_named(options, words):
  with pytest.raises(ValueError, match=words):
    check(**options)


def test_leaves_of_another_model_are_named():
  config = make_config("llama")
  params = made_models.expected_params(made_models.random_tensors("llama"))
  assert len(list(names.named_leaves(config, params))) == 2 + 6 * 2
  deeper = dataclasses.replace(config.transformer, num_layers=3)
  deeper = dataclasses.replace(config, transformer=deeper)
  with pytest.raises(ValueError, match="block_2/.* is missing"):
    list(names.named_leaves(deeper, params))
  with pytest.raises(ValueError, match="head/kernel belongs to no part"):
    list(names.named_leaves(config, {**params, "head": {"kernel": 0}}))
  wrong = {**params, "embedding": {"table": params["embedding"]["table"].T}}
  with pytest.raises(ValueError, match=r"embedding/table has shape \(16, 40\)"):
    list(names.named_leaves(config, wrong))
