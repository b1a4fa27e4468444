"""The models that are measured, and what their arithmetic costs."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from graphgpo_jax.policy import (
  attention,
  language_model,
  lora,
  transformer_config,
)

# --model of these shapes needs no file; speed does not depend on the weights.
SHAPES = {
  "tiny": language_model.LanguageModelConfig(
    64,
    transformer_config.TransformerConfig(
      num_layers=2,
      width=32,
      num_heads=4,
      num_kv_heads=2,
      causal=True,
      rope=True,
      attention=attention.grouped_attention,
    ),
  ),
  "random:smollm2": language_model.LanguageModelConfig(
    49152,
    transformer_config.TransformerConfig(
      num_layers=30,
      width=576,
      num_heads=9,
      num_kv_heads=3,
      mlp_width=1536,
      causal=True,
      rope=True,
      rope_base=1e5,
      norm_epsilon=1e-5,
      attention=attention.grouped_attention,
    ),
  ),
}
LORA = lora.LoraConfig(rank=16, alpha=32.0)


class Model(NamedTuple):
  """A model and its parameters.

  Attributes:
    module: LanguageModel.
    params: its collection "params".
  """

  module: language_model.LanguageModel
  params: Any


def load(
  name: str, *, dtype: Any = jnp.float32, param_dtype: Any = None
) -> Model:
  """The model that `--model` names.

  Args:
    name: a key of `SHAPES` for random weights, or the path of a Hugging Face
      directory or a GGUF file.
    dtype: of activations.
    param_dtype: of parameters; `dtype` where None.

  Returns:
    The model, without adapters.
  """
  types = {"dtype": dtype, "param_dtype": param_dtype or dtype}
  if name not in SHAPES:
    from graphgpo_jax.policy.pretrained import load as pretrained

    found = pretrained.load(name, dtype=types["param_dtype"])
    return Model(_module(found.config, **types), found.params)
  module = _module(SHAPES[name], **types)
  return Model(module, _draw(module, "params"))


def config_of(name: str) -> language_model.LanguageModelConfig:
  """The shape of the model that `--model` names."""
  return SHAPES[name] if name in SHAPES else load(name).module.config


def with_lora(model: Model) -> tuple[language_model.LanguageModel, Any]:
  """The module with adapters of rank 16, and their collection "lora"."""
  module = _module(model.module.config, lora=LORA)
  return module, _draw(module, "lora")


def _module(config, **changes):
  return language_model.LanguageModel(
    dataclasses.replace(
      config, transformer=dataclasses.replace(config.transformer, **changes)
    )
  )


def _draw(module, collection):
  """One collection; compiled, the others are never computed."""
  tokens = jnp.zeros((1, 2), jnp.int32)
  return jax.jit(
    lambda key: module.init(key, tokens, jnp.ones((1, 2), bool))[collection]
  )(jax.random.key(0))


def num_bytes(tree: Any) -> int:
  """Bytes of all leaves."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def num_parameters(tree: Any) -> int:
  """Entries of all leaves."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def cache_bytes_per_token(config: language_model.LanguageModelConfig) -> int:
  """Bytes of the keys and values of one token, all layers."""
  inner = config.transformer
  entries = inner.resolved_num_kv_heads * inner.resolved_head_dim
  return 2 * inner.num_layers * entries * jnp.dtype(inner.dtype).itemsize


def forward_flops(
  config: language_model.LanguageModelConfig, length: int
) -> float:
  """Floating-point operations of the products of one row's forward pass.

  2 per weight and token, the readout included, and 2 K per attended pair of
  query and key head for scores and as many for values, causal: L (L + 1) / 2
  pairs. A full training step takes three times that; rematerialisation does
  not count, since it is not needed.

  Args:
    config: the model's.
    length: L, tokens of the row.

  Returns:
    The number of operations.

  Reference: arXiv 2204.02311, appendix B, but for the causal half.
  """
  inner = config.transformer
  size = inner.resolved_head_dim
  heads, kv_heads = inner.num_heads, inner.resolved_num_kv_heads
  per_layer = inner.width * size * (2 * heads + 2 * kv_heads)
  per_layer += 3 * inner.width * inner.resolved_mlp_width
  weights = inner.num_layers * per_layer
  weights += inner.width * config.vocabulary_size
  pairs = length * (length + 1) / 2
  return 2 * weights * length + 4 * inner.num_layers * heads * size * pairs
