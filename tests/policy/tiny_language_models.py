"""Tiny random language models for tests."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.policy import (
  attention,
  language_model,
  rope,
  transformer_config,
)

# For programs that are only measured: skips the optimisation of machine code.
QUICK = {"xla_backend_optimization_level": 0}
CONFIG = language_model.LanguageModelConfig(
  vocabulary_size=64,
  transformer=transformer_config.TransformerConfig(
    num_layers=2,
    width=32,
    num_heads=4,
    num_kv_heads=2,
    mlp_width=48,
    causal=True,
    rope=True,
    qk_norm=True,
    attention=attention.grouped_attention,
  ),
)
# For what does not depend on the number of layers: compiles faster.
SHALLOW = dataclasses.replace(
  CONFIG, transformer=dataclasses.replace(CONFIG.transformer, num_layers=1)
)
# Whatever CONFIG leaves out.
OTHER = language_model.LanguageModelConfig(
  vocabulary_size=64,
  transformer=dataclasses.replace(
    CONFIG.transformer,
    head_dim=6,
    qkv_bias=True,
    qk_norm=False,
    rope_scaling=rope.RopeScaling("yarn", 4.0, 64),
  ),
  tied_embeddings=False,
)


def random_variables(model):
  """Variables of any language model, with logits far from uniform.

  Drawn by NumPy, because compiling an initialisation takes seconds.
  """
  tokens = jnp.zeros((1, 2), jnp.int32)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), tokens, jnp.ones((1, 2), bool)
  )
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    values = rng.normal(size=leaf.shape)
    name = path[-1].key
    if name == "scale":
      values = 1.0 + 0.1 * values
    elif name == "table":
      # Small beside what the blocks add: a tied model repeats itself otherwise.
      values *= 0.3
    elif name in ("kernel", "a", "b"):
      values *= 2.0 * leaf.shape[0] ** -0.5
    return jnp.asarray(values, leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.cache
def build(config=CONFIG):
  """A model and its variables."""
  model = language_model.LanguageModel(config)
  return model, random_variables(model)
