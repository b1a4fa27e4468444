import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import language_model, transformer
from tests.policy import tiny_language_models as tiny

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 64, (3, 9)).astype(np.int32)


@functools.cache
def logits_of(config):
  model, variables = tiny.build(config)
  apply = jax.jit(model.apply)
  return functools.partial(apply, variables)


def everywhere(tokens):
  return np.ones(tokens.shape, bool)


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.OTHER])
def test_tree_of_parameters(config):
  _, variables = tiny.build(config)
  assert set(variables) == {"params"}
  params = variables["params"]
  tied = config.tied_embeddings
  assert set(params) == {"embedding", "transformer"} | (
    set() if tied else {"head"}
  )
  assert params["embedding"]["table"].shape == (64, 32)
  weights = language_model.output_weights(params)
  assert weights.shape == ((64, 32) if tied else (32, 64))
  shapes = jax.tree.map(jnp.shape, params["transformer"]["block_1"])
  heads = 8 * config.transformer.resolved_head_dim
  assert shapes["attention"]["qkv"]["kernel"] == (32, heads)
  assert shapes["mlp"]["gate_up"]["kernel"] == (32, 96)


def test_logits_read_out_hidden_states():
  model, variables = tiny.build()
  hidden = jax.jit(functools.partial(model.apply, method="hidden"))(
    variables, TOKENS, everywhere(TOKENS)
  )
  logits = logits_of(tiny.CONFIG)(TOKENS, everywhere(TOKENS))
  assert logits.dtype == jnp.float32
  expected = hidden @ variables["params"]["embedding"]["table"].T
  np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.OTHER])
def test_padding_changes_nothing(config):
  apply = logits_of(config)
  expected = apply(TOKENS, everywhere(TOKENS))
  assert np.std(expected) > 0.5
  for left, right in ((4, 0), (0, 4), (1, 3)):
    widths = ((0, 0), (left, right))
    # Padding may be any number, also none of the vocabulary.
    for filler in (-1, 10_000):
      tokens = np.pad(TOKENS, widths, constant_values=filler)
      logits = apply(tokens, np.pad(everywhere(TOKENS), widths))
      chex.assert_tree_all_finite(logits)
      np.testing.assert_allclose(
        logits[:, left : left + 9], expected, rtol=1e-5, atol=1e-4
      )


@pytest.mark.parametrize("token", [-1, 64])
def test_a_token_outside_the_vocabulary_is_seen(token):
  tokens = TOKENS.copy()
  tokens[1, 4] = token
  logits = logits_of(tiny.CONFIG)(tokens, everywhere(tokens))
  assert np.all(np.isnan(logits[1, 4:]))
  assert np.all(np.isfinite(logits[::2]))


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.OTHER])
def test_packed_rows_equal_rows_apart(config):
  apply = logits_of(config)
  lengths = [4, 9, 6]
  mask = np.arange(9) < np.array(lengths)[:, None]
  apart = apply(TOKENS, mask)
  # Padding before, within the third segment, between two and after.
  pieces = [(None, 2), (0, 4), (None, 3), (1, 9), (None, 1), (2, 6), (None, 2)]
  numbers = [0, 1, 2, 2, 3, 4, 0]
  tokens, segments, valid = [], [], []
  for number, (row, length) in zip(numbers, pieces, strict=True):
    tokens += [0] * length if row is None else TOKENS[row, :length].tolist()
    segments += [number] * length
    valid += [row is not None] * length
  logits = apply(
    np.array([tokens], np.int32),
    np.array([valid]),
    segments=np.array([segments], np.int32),
  )[0]
  start = 0
  for row, length in pieces:
    if row is not None:
      np.testing.assert_allclose(
        logits[start : start + length],
        apart[row, :length],
        rtol=1e-5,
        atol=1e-4,
      )
    start += length


def test_gradient_with_padding_is_finite():
  model, variables = tiny.build()
  mask = np.arange(9) < np.array([[9], [0], [3]])
  tokens = np.where(mask, TOKENS, -1)

  @jax.jit
  @jax.grad
  def slope(variables):
    logits = model.apply(variables, tokens, mask)
    return jnp.sum(jnp.where(mask[..., None], logits, 0.0) ** 2)

  gradient = slope(variables)
  chex.assert_tree_all_finite(gradient)
  assert np.abs(gradient["params"]["embedding"]["table"]).max() > 0


def test_bfloat16_parameters():
  config = dataclasses.replace(
    tiny.OTHER,
    transformer=dataclasses.replace(
      tiny.OTHER.transformer, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16
    ),
  )
  model = language_model.LanguageModel(config)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), TOKENS, everywhere(TOKENS)
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
    np.dtype(jnp.bfloat16)
  }
  _, variables = tiny.build(tiny.OTHER)
  low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
  logits = jax.jit(model.apply)(low, TOKENS, everywhere(TOKENS))
  assert logits.dtype == jnp.float32
  exact = logits_of(tiny.OTHER)(TOKENS, everywhere(TOKENS))
  assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def test_what_a_config_refuses():
  with pytest.raises(ValueError, match="vocabulary_size"):
    dataclasses.replace(tiny.CONFIG, vocabulary_size=0)
  bidirectional = dataclasses.replace(tiny.CONFIG.transformer, causal=False)
  with pytest.raises(ValueError, match="causal"):
    dataclasses.replace(tiny.CONFIG, transformer=bidirectional)
  with pytest.raises(ValueError, match="rope_scaling"):
    dataclasses.replace(tiny.OTHER.transformer, rope=False)
  with pytest.raises(ValueError, match="param_dtype"):
    transformer.TransformerConfig(
      num_layers=1, width=8, num_heads=1, param_dtype=jnp.int8
    )
